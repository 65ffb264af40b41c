"""Training of the shipped prior: autoencoder, captions, text-conditioned diffusion, figures and card."""
