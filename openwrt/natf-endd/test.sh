#!/bin/sh

case "$1" in
natf-endd)
	natf-endd --version 2>&1 | grep -F "$2"
	;;
esac
