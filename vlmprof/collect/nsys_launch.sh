# sh nsys_launch.sh launch MARK nsys launch OPTIONS... sh nsys_launch.sh run MARK PROGRAM ARGUMENTS...
#
# nsys's daemon opens a semaphore that its launcher makes a moment later. On busy cores the daemon may come first:
# `nsys launch` ends, and the program was never started. (nsys 2022.4 beside four busy processes on two cores: ten
# of twelve launches.) What never made its mark is launched again; what did, never.
action=$1 mark=$2
shift 2

if [ "$action" = run ]; then
    : >"$mark"
    exec "$@"
fi

trap 'ended=1; kill -TERM "$launch"' TERM
for attempt in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    "$@" &
    launch=$!
    wait "$launch"
    code=$?
    # A signal ends the wait before the launch has ended.
    while kill -0 "$launch" 2>/dev/null; do
        wait "$launch"
        code=$?
    done
    if [ -e "$mark" ] || [ -n "$ended" ]; then break; fi
done
rm -f "$mark"
exit "$code"
