"""Finding faces and their five landmarks: MTCNN with the weights of its package, on compiled convolutions."""
