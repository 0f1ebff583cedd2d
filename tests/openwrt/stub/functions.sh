# shellcheck shell=dash disable=SC2034
# As /lib/functions.sh of OpenWrt, for init scripts: config_load, config_get, config_get_bool, config_foreach, append.

append() {
	eval "$1=\"\${$1:+\${$1} }\$2\""
}

config_load() {
	CONFIG_SECTIONS=
	eval "$(awk -f /lib/uci.awk "${UCI_CONFIG_DIR:-/etc/config}/$1" 2>/dev/null)"
}

# config_get VARIABLE SECTION OPTION [DEFAULT]
config_get() {
	eval "$1=\${CONFIG_${2}_$3:-\$4}"
}

config_get_bool() {
	local value
	config_get value "$2" "$3" "$4"
	case $value in
	1 | on | true | yes | enabled) eval "$1=1" ;;
	0 | off | false | no | disabled) eval "$1=0" ;;
	*) eval "$1=$4" ;;
	esac
}

# config_foreach FUNCTION TYPE
config_foreach() {
	local section kind
	for section in $CONFIG_SECTIONS; do
		eval "kind=\$CONFIG_${section}_TYPE"
		[ "$kind" != "$2" ] || "$1" "$section"
	done
}
