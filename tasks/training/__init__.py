"""Turns SFT rows into a fine-tuned model: encoding, packing, DeepSpeed training, export."""
