#include "data/rows/files.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <glob.h>

#include "base/error.h"
#include "data/rows/source.h"

namespace moebius::data {
namespace {

namespace fs = std::filesystem;

/// What the pattern matches; empty where nothing does.
std::vector<std::string> matches(const std::string& pattern) {
  struct Found : glob_t {
    Found() : glob_t{} {}
    Found(const Found&) = delete;
    Found& operator=(const Found&) = delete;
    ~Found() { ::globfree(this); }
  } found;
  std::vector<std::string> paths;
  if (::glob(pattern.c_str(), 0, nullptr, &found) != 0) return paths;
  for (std::size_t i = 0; i < found.gl_pathc; ++i) {
    if (!fs::is_directory(found.gl_pathv[i])) paths.emplace_back(found.gl_pathv[i]);
  }
  return paths;
}

std::vector<std::string> inside(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    const bool is_hidden = path.filename().string().starts_with('.');
    if (!is_hidden && !entry->is_directory() && is_row_file(path)) paths.push_back(path.string());
  }
  if (error) throw InputError(fmt::format("{}: cannot be listed: {}", folder, error.message()));
  return paths;
}

}  // namespace

std::vector<std::string> row_files(const std::string& path) {
  std::error_code ignored;
  const bool is_pattern = path.find_first_of("*?[") != std::string::npos;
  std::vector<std::string> files;
  if (fs::is_directory(path, ignored)) {
    files = inside(path);
    if (files.empty()) {
      throw InputError(
          fmt::format("{}: no data file in this folder (.jsonl, .json, .csv, .txt, .parquet; folders in it "
                      "are not looked into: name them, or use a pattern such as {}/*/*.parquet)",
                      path, path));
    }
  } else if (is_pattern && !fs::exists(path, ignored)) {
    files = matches(path);
    if (files.empty()) throw InputError(path + ": no file matches this pattern (check it with ls)");
  } else {
    files = {path};
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace moebius::data
