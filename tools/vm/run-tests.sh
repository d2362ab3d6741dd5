#!/bin/bash
# run-tests.sh EXECUTABLE all|soft-dirty ...: in the virtual machine, by tools/test.sh: runs test executables under both modes of
# transparent huge pages; leaves NAME-MODE.json, .log and .exit in /results.
thp=/sys/kernel/mm/transparent_hugepage/enabled
export DOTNET_TieredPGO=0    # less for the emulated CPU to do
tests=("$@")
for mode in never always; do
    echo $mode >$thp
    for ((i = 0; i < ${#tests[@]}; i += 2)); do
        name=$(basename "${tests[i]}" | sed 's/Crstore\.\(.*\)\.Tests/\1/')-$mode
        filter=()
        [ "${tests[i + 1]}" = all ] || filter=(-filter '/*/*/*SoftDirty*/*' -filter '/*/*/*Trap*/*' -filter '/[vm=yes]')
        timeout -k 10 "${CRSTORE_VM_TEST_TIMEOUT:-2400}" "${tests[i]}" "${filter[@]}" -noColor -noLogo -ctrf "/results/$name.json" >"/results/$name.log" 2>&1
        echo $? >"/results/$name.exit"
        echo "$name: exit code $(cat "/results/$name.exit")"
    done
done
