# One image for every process of the demo: `docker compose up` (docs/compose.md). Engine 25 or newer, with BuildKit.

FROM python:3.11-slim-bookworm AS build
# Where torch comes from: PyTorch's wheels without CUDA, a third of the size. "" for pip's own index.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
# Extras of pyproject.toml; each modality of compose.yaml needs its own.
ARG EXTRAS=lidar,radiance,console
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
# As in constraints.txt; named here so that another pin there costs no new download of it.
ARG TORCH=torch==2.13.0
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --no-deps ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$TORCH"
COPY pyproject.toml constraints.txt ./
# The packages without the project itself: another line of its code then costs no new installation.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c 'import sys, tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
extras = project["optional-dependencies"]; \
print(*project["dependencies"], *(line for name in sys.argv[1].split(",") for line in extras[name]), sep="\n")' \
      "$EXTRAS" > requirements.txt \
 && pip install --disable-pip-version-check -c constraints.txt -r requirements.txt \
 && pip uninstall -q -y pip setuptools

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin app \
 && install -d -o app -g app /data
COPY --from=build /opt/venv /opt/venv
COPY . /app
RUN python -m compileall -q /app
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp OMP_NUM_THREADS=1
WORKDIR /app
USER app
