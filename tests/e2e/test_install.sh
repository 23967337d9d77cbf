#!/bin/sh
# The installed library, as a stranger finds it: installs a build into a temporary prefix, compiles the example with
# pkg-config, as C and as C++, and with a CMake project that says find_package(quire), runs them, and checks that
# libquire.so exports nothing but quire_* symbols and everything that its headers declare.
#
#     tests/e2e/test_install.sh BUILD_DIR
set -eu

build=$(cd "${1:?usage: test_install.sh BUILD_DIR}" && pwd)
source=$(cd "$(dirname "$0")/../.." && pwd)
cc=${CC:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/usr

die() {
    echo "test_install: $*" >&2
    exit 1
}

# Exit 1 and this message on standard error: the program was compiled, linked, started, and found nobody.
runs() {
    status=0
    QUIRE_CONNECT=ipc://$work/nobody "$@" ai word >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = 1 ] && grep -q 'no connection to ipc://' "$work/err" ||
        die "$1: exit $status: $(cat "$work/out" "$work/err")"
}

cmake --install "$build" --prefix "$prefix" >"$work/log" 2>&1 || die "install: $(cat "$work/log")"
library=$(find "$prefix" -name libquire.so)
[ -n "$library" ] || die "there is no libquire.so under $prefix"
libdir=$(dirname "$library")
header=$(find "$prefix" -name quire.h)
[ -n "$header" ] || die "there is no quire.h under $prefix"
example=$(find "$prefix" -path '*examples/search.c')
[ -n "$example" ] || die "there is no example under $prefix"
cmp -s "$example" "$source/client/examples/search.c" || die "the installed example is another one"

echo "symbols"
nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' | sed 's/@.*//' | sort >"$work/exported"
if grep -v '^quire_' "$work/exported"; then
    die "libquire.so exports what is not its own"
fi
sed -n 's/^QUIRE_API.*[ *]\(quire_[a-z_]*\)(.*/\1/p' "$header" "$(dirname "$header")/quire_uv.h" | sort >"$work/declared"
diff "$work/declared" "$work/exported" || die "declared (<) and exported (>) differ"
[ "$(wc -l <"$work/declared")" -ge 40 ] || die "the declarations were not found"
readelf -d "$library" | grep -q 'SONAME.*\[libquire.so.0\]' || die "the soname is not libquire.so.0"

echo "headers"
for standard in c99 c11 c17; do
    printf '#include <quire.h>\nint main(void) { return quire_version() == 0; }\n' >"$work/h.c"
    $cc -std=$standard -pedantic -Wall -Wextra -Werror -I"$(dirname "$header")" -fsyntax-only "$work/h.c"
done
if command -v "${CXX:-c++}" >/dev/null; then
    printf '#include <quire.h>\nint main() { quire_search_request r = QUIRE_SEARCH_INIT; return (int)r.limit; }\n' >"$work/h.cc"
    "${CXX:-c++}" -std=c++17 -Wall -Werror -I"$(dirname "$header")" -fsyntax-only "$work/h.cc"
fi

echo "pkg-config"
# Found where it is, wherever the build was configured to be installed.
PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH
flags=$(pkg-config --cflags --libs quire) || die "pkg-config finds no quire"
# shellcheck disable=SC2086
$cc -Wall -Wextra -Werror -o "$work/with-pkg-config" "$example" $flags -pthread
LD_LIBRARY_PATH=$libdir runs "$work/with-pkg-config"
echo "find_package"
mkdir "$work/project"
cp "$example" "$work/project/search.c"
cat >"$work/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.16)
project(example C)
find_package(quire 0.1 REQUIRED)
find_package(Threads REQUIRED)
add_executable(search search.c)
target_link_libraries(search PRIVATE quire::quire Threads::Threads)
END
cmake -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$prefix" >"$work/log" 2>&1 ||
    die "find_package: $(cat "$work/log")"
cmake --build "$work/project/build" >"$work/log" 2>&1 || die "build: $(cat "$work/log")"
runs "$work/project/build/search"

if [ -x "$prefix/bin/quire" ]; then
    echo "the program"
    # It finds its library by itself, wherever the prefix is.
    "$prefix/bin/quire" --version >"$work/out" 2>&1 || die "quire --version: $(cat "$work/out")"
fi
echo "test_install: passed"
