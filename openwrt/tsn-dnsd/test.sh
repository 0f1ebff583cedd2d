#!/bin/sh

case "$1" in
tsn-dnsd)
	tsn-dnsd --version 2>&1 | grep -F "$2"
	;;
esac
