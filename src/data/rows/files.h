#pragma once
#include <string>
#include <vector>

namespace moebius::data {

/// The files that an entry of data.train means, in the order of their names: a file; a folder (what lies in
/// it and can be read as rows, hidden files and folders in it left out); or a pattern with *, ? and [..], as
/// shells have it. A path that exists is never a pattern. Throws InputError where a folder or a pattern has
/// no such file.
[[nodiscard]] std::vector<std::string> row_files(const std::string& path);

}  // namespace moebius::data
