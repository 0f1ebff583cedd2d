# Stands for the SDK's rules.mk and package.mk when an .ipk is built without an SDK (../ipk.sh): the same package Makefiles are
# read by it, so that nothing is written twice. It knows what ours use; it compiles nothing.
INCLUDE_DIR := $(TOPDIR)/include
INSTALL_DIR := install -d -m0755
INSTALL_BIN := install -m0755
INSTALL_CONF := install -m0600
INSTALL_DATA := install -m0644
INSTALL_SUID := install -m4755
CP := cp -fpR
LN := ln -sf
SED := sed -i -e

# From ipk.sh: STAGE (where to put things), PROGRAMS (what cross.sh built), ARCH_PACKAGES.
PKG_BUILD_DIR := $(STAGE)/build
PKG_INSTALL_DIR := $(PROGRAMS)

comma := ,
empty :=
space := $(empty) $(empty)
