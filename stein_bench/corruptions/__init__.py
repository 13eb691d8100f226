"""The common corruptions of Hendrycks and Dietterich as functions of 8-bit images."""
