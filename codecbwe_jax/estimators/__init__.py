"""Networks that say what a sampler asks for, or a vocoder: noise, fields, mel frames."""
