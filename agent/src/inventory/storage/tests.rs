//! A sysfs made by hand.
