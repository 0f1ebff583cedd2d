//! UCI configuration and key files of the natf daemons.
