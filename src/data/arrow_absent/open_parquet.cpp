#include "base/error.h"
#include "data/rows/column_file.h"

namespace moebius::data {

std::string parquet_reader() {
  return "";
}

std::unique_ptr<ColumnFile> open_parquet(const std::filesystem::path& path) {
  throw InputError(
      path.string() +
      ": parquet files need a build with Apache Arrow, and this one is without (run `env/setup.sh "
      "parquet` and build again, or write the rows as .jsonl)");
}

}  // namespace moebius::data
