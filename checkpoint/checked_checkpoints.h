// Which checkpoints were found whole: --keep counts no others, and reads the files of each once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace trine {

// One thread at a time. A checkpoint is known as long as its files' sizes and times are what they were.
class CheckedCheckpoints {
 public:
  // It was just written.
  void trust(const std::filesystem::path& checkpoint);
  // What is wrong with it, or nothing; `is_new`: it was read for that just now. IoError.
  std::string problem_of(const std::filesystem::path& checkpoint, bool& is_new);

 private:
  struct Known {
    uint64_t state = 0;
    std::string problem;
  };
  std::map<std::filesystem::path, Known> known_;
};

}  // namespace trine
