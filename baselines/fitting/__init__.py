"""What predictors share to be fitted: windows, inner products, the training of torch modules."""
