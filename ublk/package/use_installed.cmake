# Installs the tree, and builds and runs a consumer of it: by find_package, and by pkg-config.
function(run)
    execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE text)
    if(NOT code EQUAL 0)
        list(JOIN ARGN " " line)
        message(FATAL_ERROR "${line}: ${code}\n${text}")
    endif()
    set(output "${text}" PARENT_SCOPE)
endfunction()

set(prefix "${WORK}/prefix")
file(REMOVE_RECURSE "${WORK}")
run(${CMAKE_COMMAND} --install ${TREE} --prefix ${prefix})
foreach(file bin/ublk-serve share/man/man8/ublk-serve.8 share/bash-completion/completions/ublk-serve
             share/ublk/60-ublk-unprivileged.rules)
    if(NOT EXISTS "${prefix}/${file}")
        message(FATAL_ERROR "not installed: ${file}")
    endif()
endforeach()

run(${CMAKE_COMMAND} -S ${CONSUMER} -B ${WORK}/build -D CMAKE_PREFIX_PATH=${prefix} -D VERSION=${VERSION}
    -D CMAKE_CXX_COMPILER=${COMPILER} -D CMAKE_BUILD_TYPE=Debug)
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/consumer)
message(STATUS "find_package: ${output}")

set(ENV{PKG_CONFIG_PATH} "${prefix}/${LIBDIR}/pkgconfig")
run(pkg-config --define-prefix --exact-version=${VERSION} --print-errors ublk)
run(pkg-config --define-prefix --cflags --libs ublk)
separate_arguments(flags UNIX_COMMAND "${output}")
run(${COMPILER} -std=c++23 ${CONSUMER}/consumer.cpp ${flags} -o ${WORK}/by-pkg-config)
run(${WORK}/by-pkg-config)
message(STATUS "pkg-config: ${output}")
