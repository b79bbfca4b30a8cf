#include "commands/rows.h"

#include <algorithm>
#include <fmt/format.h>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/file.h"

namespace moebius::commands {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kLongestInput = std::int64_t{1} << 32;

std::string read_input(const std::string& path) {
  if (!path.empty()) return read_file(path, kLongestInput);
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

/// The member `key` of the object in the line.
Json member(const InputLine& line, const std::string& key) {
  Json row;
  try {
    row = Json::parse(line.text);
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("{}: not JSON: {}", line.place, error.what()));
  }
  if (!row.is_object() || !row.contains(key)) {
    throw InputError(fmt::format("{}: must be an object with \"{}\"", line.place, key));
  }
  return row[key];
}

}  // namespace

std::vector<InputLine> read_lines(const std::string& path, Session& session) {
  auto& cluster = session.cluster;
  std::string text;
  cluster.on_first_rank("read the input", [&] { text = read_input(path); });
  text = cluster.broadcast("input", std::move(text));
  std::vector<InputLine> lines;
  std::istringstream stream(text);
  std::int64_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    const bool is_blank = line.find_first_not_of(" \t\r") == std::string::npos;
    if (!is_blank) lines.push_back({line, fmt::format("{}:{}", path.empty() ? "stdin" : path, number)});
  }
  return lines;
}

std::vector<std::int32_t> ids_of(const InputLine& line, const std::string& key, std::int64_t vocab) {
  const Json list = member(line, key);
  const auto is_id = [&](const Json& id) {
    return id.is_number_integer() && id.get<std::int64_t>() >= 0 && id.get<std::int64_t>() < vocab;
  };
  if (!list.is_array())
    throw InputError(fmt::format("{}: \"{}\" must be a list of token ids", line.place, key));
  const auto wrong = std::find_if_not(list.begin(), list.end(), is_id);
  if (wrong != list.end()) {
    throw InputError(fmt::format("{}: \"{}\" holds {}; token ids are whole numbers from 0 to {}", line.place,
                                 key, wrong->dump(), vocab - 1));
  }
  return list.get<std::vector<std::int32_t>>();
}

std::string text_of(const InputLine& line, const std::string& key) {
  const Json text = member(line, key);
  if (!text.is_string()) throw InputError(fmt::format("{}: \"{}\" must be a text", line.place, key));
  return text.get<std::string>();
}

std::string json_quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

RowOutput::RowOutput(const std::string& path, Session& session)
    : name_(path.empty() ? "stdout" : path), session_(session) {
  session_.cluster.on_first_rank("open the output", [&] {
    file_ = path.empty() ? stdout : std::fopen(path.c_str(), "wb");
    if (file_ == nullptr) throw ClusterError(path + ": cannot be written; does its folder exist?");
  });
}

RowOutput::~RowOutput() {
  if (file_ != nullptr && file_ != stdout) std::fclose(file_);
}

void RowOutput::write(const std::vector<Row>& rows) {
  auto& cluster = session_.cluster;
  std::string packed;  // "number length\nline" one behind the other
  for (const auto& [number, line] : rows) packed += fmt::format("{} {}\n{}", number, line.size(), line);
  const std::vector<std::string> texts = cluster.gather("output rows", packed);
  cluster.on_first_rank("write the output", [&] {
    std::vector<std::pair<std::int64_t, std::string_view>> all;
    for (const std::string& text : texts) {
      for (std::size_t at = 0; at < text.size();) {
        std::int64_t number = 0;
        std::size_t length = 0;
        int header = 0;
        std::sscanf(text.c_str() + at, "%ld %zu%n", &number, &length, &header);
        const std::size_t begin = at + std::size_t(header) + 1;
        all.emplace_back(number, std::string_view(text).substr(begin, length));
        at = begin + length;
      }
    }
    std::sort(all.begin(), all.end());
    for (const auto& [number, line] : all)
      std::fwrite((std::string(line) + "\n").data(), 1, line.size() + 1, file_);
    if (std::fflush(file_) != 0 || std::ferror(file_) != 0)
      throw ClusterError(name_ + ": cannot write; is the disk full?");
  });
}

}  // namespace moebius::commands
