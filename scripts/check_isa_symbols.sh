#!/bin/bash
# Fails when an object compiled for one instruction set defines a weak or global symbol outside that set's namespace:
# the linker could keep that copy for the whole program, which then crashes on a smaller machine.
# Usage: scripts/check_isa_symbols.sh [BUILD_FOLDER]
set -euo pipefail
build=${1:-build}
failed=0
for isa in portable avx2 avx512 avx512bf16; do
  mapfile -t objects < <(find "$build/kernels/CMakeFiles/trine_simd_$isa.dir" -name '*.o' 2>/dev/null)
  if [ ${#objects[@]} -eq 0 ]; then
    echo "[isa] no objects of $isa under $build. Build first, or name the build folder." >&2
    exit 1
  fi
  # Own names: functions of the namespace, their statics and guards, AddressSanitizer's marks of its variables.
  # DW.ref...: a pointer to the runtime's exception handler; it is data and has no instructions.
  own="^(__odr_asan\.)?_Z(GV|TV|TI|TS)?Z*N[VK]*5trine3cpu${#isa}$isa|^DW\.ref\."
  bad=$(nm --defined-only "${objects[@]}" |
    awk -v own="$own" 'NF == 3 && $2 ~ /^[A-Zuvw]$/ && $3 !~ own {print $2, $3}' | sort -u | c++filt)
  if [ -n "$bad" ]; then
    echo "[isa] objects of $isa define symbols outside trine::cpu::$isa. Move them into it, or force inlining:" >&2
    echo "$bad" | sed 's/^/  /' >&2
    failed=1
  fi
done
exit $failed
