# See ../../rules.mk: the programs are built already.
