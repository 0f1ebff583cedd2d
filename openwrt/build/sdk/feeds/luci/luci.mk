# Stands for LuCI's luci.mk, see ../../rules.mk: one package of what htdocs/ and root/ have, and one for each language in po/.
LUCI_NAME ?= $(notdir $(CURDIR))
LUCI_BASENAME ?= $(patsubst luci-app-%,%,$(LUCI_NAME))
LUCI_LANGUAGES := $(sort $(notdir $(patsubst %/,%,$(dir $(wildcard $(CURDIR)/po/*/*.po)))))
LUCI_PKGARCH ?= all
LUCI_SECTION ?= luci
LUCI_MAINTAINER ?= OpenWrt LuCI community
LUCI_URL ?= https://github.com/openwrt/luci

# How a language calls itself: LuCI has more of them.
LUCI_LANG.de := Deutsch (German)
LUCI_LANG.es := Español (Spanish)
LUCI_LANG.fr := Français (French)
LUCI_LANG.ja := 日本語 (Japanese)
LUCI_LANG.zh_Hans := 简体中文 (Simplified Chinese)
# Where LuCI's own code differs from the directory's name.
LUCI_LC_ALIAS.zh_Hans := zh-cn

PKG_NAME ?= $(LUCI_NAME)
PKG_PO_VERSION ?= $(PKG_VERSION)-r$(PKG_RELEASE)
HTDOCS := /www
I18N := /usr/lib/lua/luci/i18n

include $(INCLUDE_DIR)/package.mk

define Package/$(PKG_NAME)
  SECTION:=$(LUCI_SECTION)
  TITLE:=$(LUCI_TITLE)
  DEPENDS:=$(LUCI_DEPENDS)
  PKGARCH:=$(LUCI_PKGARCH)
  URL:=$(LUCI_URL)
  MAINTAINER:=$(LUCI_MAINTAINER)
endef

define Package/$(PKG_NAME)/description
  $(strip $(LUCI_DESCRIPTION))
endef

define Package/$(PKG_NAME)/install
	$(if $(wildcard htdocs),$(INSTALL_DIR) $(1)$(HTDOCS) && $(CP) htdocs/. $(1)$(HTDOCS)/)
	$(if $(wildcard root),$(CP) root/. $(1)/)
	chmod -R u=rwX,go=rX $(1)
endef

# LuCI keeps its menu and its modules in memory, rpcd the rights.
ifndef Package/$(PKG_NAME)/postinst
define Package/$(PKG_NAME)/postinst
#!/bin/sh
[ -n "$${IPKG_INSTROOT}" ] || {
	rm -rf /tmp/luci-indexcache* /tmp/luci-modulecache/
	/etc/init.d/rpcd reload
	exit 0
}
endef
endif

# LuciTranslation LANGUAGE CODE: the package luci-i18n-NAME-CODE.
define LuciTranslation
$(if $(LUCI_LANG.$(1)),,$(error luci.mk: no name is known for the language '$(1)'; known are: $(sort $(patsubst LUCI_LANG.%,%,$(filter LUCI_LANG.%,$(.VARIABLES))))))
define Package/luci-i18n-$(LUCI_BASENAME)-$(2)
  SECTION:=luci
  TITLE:=$(PKG_NAME) - $(2) translation
  DEPENDS:=$(PKG_NAME)
  VERSION:=$(PKG_PO_VERSION)
  PKGARCH:=all
  MAINTAINER:=$(LUCI_MAINTAINER)
endef

define Package/luci-i18n-$(LUCI_BASENAME)-$(2)/description
  Translation for $(PKG_NAME) - $(LUCI_LANG.$(1))
endef

define Package/luci-i18n-$(LUCI_BASENAME)-$(2)/install
	$$(INSTALL_DIR) $$(1)/etc/uci-defaults $$(1)$(I18N)
	echo "uci set luci.languages.$(subst -,_,$(2))='$(LUCI_LANG.$(1))'; uci commit luci" > $$(1)/etc/uci-defaults/luci-i18n-$(LUCI_BASENAME)-$(2)
	$$(foreach po,$$(wildcard po/$(1)/*.po),$(TOPDIR)/../po2lmo.py $$(po) $$(1)$(I18N)/$$(basename $$(notdir $$(po))).$(2).lmo && ) true
endef
endef

$(foreach language,$(LUCI_LANGUAGES),$(eval $(call LuciTranslation,$(language),$(or $(LUCI_LC_ALIAS.$(language)),$(language)))))
$(foreach package,$(PKG_NAME) $(foreach language,$(LUCI_LANGUAGES),luci-i18n-$(LUCI_BASENAME)-$(or $(LUCI_LC_ALIAS.$(language)),$(language))),$(eval $(call BuildPackage,$(package))))
