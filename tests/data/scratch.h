// What tests about files share: a folder that disappears, the fixtures, and errors by their code and words.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <stdlib.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "base/error.h"
#include "tests/test_data.h"

namespace trine::testing {

class ScratchFolder {
 public:
  ScratchFolder() {
    // In memory where possible: tests of damaged files write thousands of small ones.
    const std::filesystem::path memory = "/dev/shm";
    const bool in_memory = ::access(memory.c_str(), W_OK) == 0;
    std::string name =
        ((in_memory ? memory : std::filesystem::temp_directory_path()) / "trine-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed for " + name);
    path_ = name;
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::filesystem::path path_;
};

inline std::filesystem::path fixture(const std::string& name) { return std::filesystem::path(test_data()) / name; }

inline void write_file(const std::filesystem::path& path, std::string_view contents) {
  std::ofstream(path, std::ios::binary).write(contents.data(), static_cast<std::streamsize>(contents.size()));
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ostringstream contents;
  contents << std::ifstream(path, std::ios::binary).rdbuf();
  return contents.str();
}

// The message of the Error that `f` throws, after checking its code and that it names every one of `words`.
template <typename F>
std::string expect_error(ExitCode code, const std::vector<std::string>& words, F f) {
  try {
    f();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << message;
    for (const std::string& word : words)
      EXPECT_NE(message.find(word), std::string::npos) << message << "\nlacks " << word;
    return message;
  }
  ADD_FAILURE() << "no error";
  return {};
}

// Damages `good` in every way a disk or a broken copy would: cut at many lengths, grown, each of its first bytes
// changed bit by bit and the rest at random places; and random bytes, alone and behind a good beginning. Calls
// f(damaged) for each.
template <typename F>
void for_each_damage(const std::string& good, F f) {
  ASSERT_FALSE(good.empty());
  const size_t dense = std::min<size_t>(good.size(), 600);
  for (size_t length = 0; length < good.size(); length += length < dense ? 1 : good.size() / 50 + 1) {
    f(good.substr(0, length));
  }
  f(good + "x");
  f(good + good);
  uint64_t state = 1;
  for (size_t i = 0; i < dense + 300; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::string bad = good;
    char& byte = bad[i < dense ? i : (state >> 33) % good.size()];
    byte = static_cast<char>(byte ^ static_cast<char>(1u << (state >> 61)));
    f(bad);
    byte = static_cast<char>(state >> 40);
    f(bad);
  }
  for (size_t length = 1; length <= 60; ++length) {
    std::string bytes(length, '\0');
    for (char& byte : bytes) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<char>(state >> 40);
    }
    f(bytes);
    f(good.substr(0, state % good.size()) + bytes);
  }
}

}  // namespace trine::testing
