# shellcheck shell=bash
# What the build scripts know of OpenWrt's architectures. Sourced by them.

# shellcheck disable=SC2034  # used by those who source this
ARCHES="mips_24kc mipsel_24kc arm_cortex-a7 aarch64_cortex-a53 x86_64"
# shellcheck disable=SC2034
DAEMONS="natf-routerd natf-endd tsn-dnsd"

# rust_target ARCH: prints the Rust target.
rust_target() {
	case $1 in
	mips_24kc) echo mips-unknown-linux-musl ;;
	mipsel_24kc) echo mipsel-unknown-linux-musl ;;
	# Without NEON and VFP in its name OpenWrt's architecture has soft-float calls.
	arm_cortex-a7) echo armv7-unknown-linux-musleabi ;;
	aarch64_cortex-a53) echo aarch64-unknown-linux-musl ;;
	x86_64) echo x86_64-unknown-linux-musl ;;
	*)
		echo "unknown architecture '$1'; known are: $ARCHES" >&2
		return 1
		;;
	esac
}

# rust_flags ARCH: prints what RUSTFLAGS needs there beyond what every architecture gets.
rust_flags() {
	# The compact SHA-2: docs/adr/0004-tsig.md.
	local compact='--cfg sha2_backend="soft" --cfg sha2_backend_soft="compact"'
	# For the packer: instructions that stay in the source's order and place are more alike (docs/adr/0006-footprint.md).
	local alike='-C llvm-args=-pre-RA-sched=source -C llvm-args=-disable-lsr'
	alike+=' -C llvm-args=-disable-machine-licm -C llvm-args=-disable-machine-cse -C llvm-args=-disable-machine-sink'
	case $1 in
	# fix_y2038: else timers never fire, see patches/README.md.
	mips_24kc | mipsel_24kc) echo "$compact --cfg fix_y2038 -C target-cpu=mips32r2 $alike" ;;
	arm_cortex-a7) echo "$compact -C target-cpu=cortex-a7" ;;
	aarch64_cortex-a53) echo "-C target-cpu=cortex-a53" ;;
	x86_64) echo "-C target-cpu=x86-64" ;;
	esac
}

# qemu_user ARCH: prints the emulator that runs programs of that architecture.
qemu_user() {
	case $1 in
	mips_24kc) echo qemu-mips-static ;;
	mipsel_24kc) echo qemu-mipsel-static ;;
	arm_cortex-a7) echo qemu-arm-static ;;
	aarch64_cortex-a53) echo qemu-aarch64-static ;;
	x86_64) echo qemu-x86_64-static ;;
	esac
}
