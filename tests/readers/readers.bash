# Reads $2 dotenv files named 0, 1, 2 … below $1, each in a process that finds no program to run. Prints for each file
# `1` if bash read it without a complaint and `0` otherwise, then the value of `A` and a NUL byte.
cd "$1" || exit 1
PATH=/nonexistent HOME=/home/of-nobody
for ((n = 0; n < $2; n++)); do
    (
        unset A
        complaint=$( { source "./$n"; } 2>&1 >/dev/null) && [ -z "$complaint" ] && source "./$n" >/dev/null &&
            printf '1%s\0' "$A" || printf '0\0'
    )
done
