# Reads the dotenv files 0, 1, 2 … below $1, $2 of them, each in a process that finds no program to run. stdout: for each
# file `1` or `0`, whether bash read it without a complaint, then the value of `A` and a NUL byte.
cd "$1" || exit 1
PATH=/nonexistent HOME=/home/of-nobody
for ((n = 0; n < $2; n++)); do
    (
        unset A
        complaint=$( { source "./$n"; } 2>&1 >/dev/null) && [ -z "$complaint" ] && source "./$n" >/dev/null &&
            printf '1%s\0' "$A" || printf '0\0'
    )
done
