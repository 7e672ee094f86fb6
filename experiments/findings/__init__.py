"""From the results of trials to figures, tables, plots and pages."""
