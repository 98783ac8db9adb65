//! From recommending content to creating it: embeddings, recommenders, sequence models and GANs in one dependency.
