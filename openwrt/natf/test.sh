#!/bin/sh

case "$1" in
natf)
	natf-routerd --version 2>&1 | grep -F "$2"
	;;
esac
