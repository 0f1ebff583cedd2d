# The part of OpenWrt's package.mk that makes an .ipk's content, see ../rules.mk.
PKG_RELEASE ?= 1

# Dependencies on other packages: without @SYMBOL, and without those that a configuration symbol decides (SYMBOL:package).
depends = $(foreach d,$(patsubst +%,%,$(filter-out @%,$(1))),$(if $(findstring :,$(d)),,$(d)))
field = $(if $(strip $(2)),$(1): $(strip $(2))$(newline))
list = $(subst $(space),$(comma)$(space),$(strip $(1)))

define newline


endef

define control
Package: $(1)
Version: $(VERSION_$(1))
$(call field,Depends,$(call list,libc $(call depends,$(DEPENDS_$(1)))))$(call field,Conflicts,$(call list,$(CONFLICTS_$(1))))$(call field,Provides,$(call list,$(PROVIDES_$(1))))$(call field,Source,$(SOURCE))$(call field,SourceName,$(PKG_NAME))$(call field,License,$(PKG_LICENSE))$(call field,Section,$(SECTION_$(1)))$(call field,Require-User,$(USERID_$(1)))$(call field,SourceDateEpoch,$(SOURCE_DATE_EPOCH))$(call field,URL,$(URL_$(1)))$(call field,Maintainer,$(MAINTAINER_$(1)))Architecture: $(PKGARCH_$(1))
endef

FIELDS := TITLE DEPENDS CONFLICTS PROVIDES SECTION USERID URL MAINTAINER PKGARCH VERSION

# BuildPackage NAME: `make stage` puts its files under STAGE/NAME/data and its descriptions under STAGE/NAME/control.
define BuildPackage
$(foreach f,$(FIELDS),$(eval $(f) :=))
$(eval PKGARCH := $(ARCH_PACKAGES))
$(eval VERSION := $(PKG_VERSION)-r$(PKG_RELEASE))
$(eval URL := $(PKG_URL))
$(eval MAINTAINER := $(PKG_MAINTAINER))
$(eval $(Package/$(1)))
$(foreach f,$(FIELDS),$(eval $(f)_$(1) := $(value $(f))))
stage: stage-$(1)
.PHONY: stage stage-$(1)
stage-$(1):
	mkdir -p $(STAGE)/$(1)/data
$(call Package/$(1)/install,$(STAGE)/$(1)/data)
	@:$$(call write,$(1),control,$$(call control,$(1)))
	@:$$(call write,$(1),description,$$(or $$(Package/$(1)/description),$$(TITLE_$(1))))
	@:$$(foreach f,conffiles preinst postinst prerm postrm,$$(if $$(Package/$(1)/$$(f)),$$(call write,$(1),$$(f),$$(Package/$(1)/$$(f)))))
endef

# ipk.sh makes the directory: make expands a whole recipe before its first line runs.
write = $(file >$(STAGE)/$(1).$(2),$(3))

# Made by cross.sh already.
define Build/Compile/Cargo
endef
define RustBinPackage
endef
