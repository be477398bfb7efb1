#!/bin/bash -eu
# Run by the base-builder image, which sets SRC, WORK, OUT, CC, CXX, CXXFLAGS and LIB_FUZZING_ENGINE. What is put into
# OUT runs in another image, without the distribution's libraries, and CXXFLAGS ask for libc++: so fmt is taken as
# headers, pugixml is built here, and of the C libraries that other parts of the tree need none is linked.
cd "$SRC/ublkcheck"
# shellcheck disable=SC2086 # flags are lists of words
$CXX $CXXFLAGS -c "$SRC"/pugixml-*/src/pugixml.cpp -o "$WORK/pugixml.o"
# No build type: assertions stay on, and the image's flags decide all else.
cmake -S . -B "$WORK/build" -G Ninja -DCMAKE_BUILD_TYPE= -DUBLKCHECK_WERROR=OFF -DUBLKCHECK_FUZZ=ON \
    -DUBLKCHECK_FUZZ_ENGINE="$LIB_FUZZING_ENGINE" -DCMAKE_CXX_FLAGS="$CXXFLAGS -DFMT_HEADER_ONLY" \
    -DCMAKE_EXE_LINKER_FLAGS="$WORK/pugixml.o -Wl,--as-needed"
ninja -C "$WORK/build" fuzz_targets

for source in fuzz/*_fuzz.cpp; do
    program=$(basename "$source" .cpp)
    name=${program%_fuzz}
    cp "$WORK/build/bin/$program" "$OUT/"
    zip -jqr "$OUT/${program}_seed_corpus.zip" "fuzz/corpus/$name"
    printf '[libfuzzer]\nmax_len = 4096\ntimeout = 20\n' >"$OUT/$program.options"
    [ ! -f "fuzz/dict/$name.dict" ] || cp "fuzz/dict/$name.dict" "$OUT/$program.dict"
done
