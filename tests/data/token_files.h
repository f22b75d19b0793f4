// Token files made byte by byte from the description of the formats, not by the code under test.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "tests/data/scratch.h"

namespace trine::testing {

template <typename T, typename Values>
std::string packed(const Values& values) {
  std::string bytes;
  for (auto value : values) {
    const auto stored = static_cast<T>(value);
    bytes.append(reinterpret_cast<const char*>(&stored), sizeof stored);
  }
  return bytes;
}

// As indexed_dataset.py of Megatron writes it; each document is one sequence.
inline std::string megatron_index(const std::vector<int64_t>& lengths, int code, int64_t token_bytes) {
  std::vector<int64_t> pointers, documents = {0};
  int64_t at = 0;
  for (int64_t length : lengths) {
    pointers.push_back(at);
    documents.push_back(static_cast<int64_t>(pointers.size()));
    at += length * token_bytes;
  }
  return std::string("MMIDIDX\0\0", 9) + packed<uint64_t>(std::vector{1}) + packed<uint8_t>(std::vector{code}) +
         packed<uint64_t>(std::vector{lengths.size(), documents.size()}) + packed<int32_t>(lengths) +
         packed<int64_t>(pointers) + packed<int64_t>(documents);
}

template <typename T>
void write_megatron(const std::filesystem::path& prefix, const std::vector<int64_t>& tokens,
                    const std::vector<int64_t>& lengths, int code) {
  write_file(prefix.string() + ".bin", packed<T>(tokens));
  write_file(prefix.string() + ".idx", megatron_index(lengths, code, sizeof(T)));
}

// As data_common.py of llm.c writes it.
template <typename T>
std::string llm_c_file(int32_t magic, int32_t version, const std::vector<int64_t>& tokens) {
  std::vector<int32_t> header(256);
  header[0] = magic, header[1] = version, header[2] = static_cast<int32_t>(tokens.size());
  return packed<int32_t>(header) + packed<T>(tokens);
}

}  // namespace trine::testing
