"""Parts what reasoning models think from what they say."""
