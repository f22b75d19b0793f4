// Runs the programs as a user does: a command line in a shell, its exit code and what it prints.
#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace trine {

struct Ran {
  int code = -1;
  std::string text;  // stdout and stderr
};

inline Ran run(const std::string& command) {
  const std::string full = "( export PATH=" TRINE_BIN ":$PATH; " + command + " ) 2>&1";
  std::FILE* pipe = ::popen(("/bin/bash -c '" + full + "'").c_str(), "r");
  Ran ran;
  std::array<char, 4096> buffer;
  for (size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) ran.text.append(buffer.data(), n);
  const int status = ::pclose(pipe);
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ran;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// A folder of its own for each test, removed afterwards, in which the commands run.
class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    std::string test = std::string(info->test_suite_name()) + "-" + info->name();
    std::replace(test.begin(), test.end(), '/', '-');
    folder_ = std::filesystem::temp_directory_path() / ("trine-" + std::to_string(::getpid()) + "-" + test);
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / "text.txt") << [] {
      std::string text;
      for (int i = 0; i < 400; ++i)
        text += "the quick brown fox jumps over the lazy dog " + std::to_string(i % 7) + "\n";
      return text;
    }();
  }
  ~ProgramTest() override { std::filesystem::remove_all(folder_); }

  Ran in_folder(const std::string& command) const { return run("cd " + folder_.string() + "; " + command); }
  // A model that trains in a blink on the folder's own text.
  static constexpr const char* kSmall =
      "train_llama --layers 2 --hidden 32 --heads 4 --kv-heads 2 --ffn 64 --seq 32 --global-batch 4 --micro-batch "
      "2 --threads 1 --data text-train --out out ";
  void prepare(const std::string& flags = "--valid-fraction 0.1") const {
    const Ran ran = in_folder("prepare_data text.txt --out text " + flags);
    ASSERT_EQ(ran.code, 0) << ran.text;
  }

  std::filesystem::path folder_;
};

}  // namespace trine
