"""Methods of others that forecast or average weights, restated from their papers and fitted on the training trials."""
