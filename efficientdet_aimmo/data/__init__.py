"""Input: shards in, batches of images, boxes and classes out."""
