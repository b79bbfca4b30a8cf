# Every library that the project uses, as a target of a plain name. env/setup.sh installs them.
find_package(MPI REQUIRED COMPONENTS CXX)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(fmt REQUIRED)
find_package(PkgConfig REQUIRED)

# moebius_pkg(NAME MODULE): an imported target from a pkg-config module.
function(moebius_pkg name module)
  pkg_check_modules(${name}_PC REQUIRED IMPORTED_TARGET ${module})
  add_library(${name} ALIAS PkgConfig::${name}_PC)
endfunction()

moebius_pkg(simdjson simdjson)
moebius_pkg(pcre2 libpcre2-8)
moebius_pkg(utf8proc libutf8proc)
moebius_pkg(xxhash libxxhash)
moebius_pkg(hdf5 hdf5-openmpi)

# Header-only libraries of Debian and Ubuntu.
foreach(header_only nlohmann_json cli11 tomlplusplus)
  add_library(${header_only} INTERFACE)
endforeach()
find_path(NLOHMANN_JSON_INCLUDE nlohmann/json.hpp REQUIRED)
find_path(CLI11_INCLUDE CLI/CLI.hpp REQUIRED)
find_path(TOMLPLUSPLUS_INCLUDE toml++/toml.h REQUIRED)
