"""Generated from ``proto/frame.proto`` (``make stubs``); not edited by hand."""
