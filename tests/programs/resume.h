// What tests of interrupted runs share: models that train in a blink, and what a run left behind.
#pragma once

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <map>

#include "tests/programs/mpirun.h"

namespace trine {

struct Line {
  int64_t step = 0;
  std::map<std::string, nlohmann::json> values;
  bool operator==(const Line&) const = default;
};

inline void PrintTo(const Line& line, std::ostream* out) {
  *out << "step " << line.step << " " << nlohmann::json(line.values);
}

class ResumeTest : public ProgramTest {
 protected:
  // Steps of some milliseconds, and more samples than an epoch has. It reads and writes all that a resume restores.
  static constexpr const char* kModel =
      "train_llama --layers 4 --hidden 64 --heads 4 --kv-heads 2 --ffn 128 --seq 32 --global-batch 32 "
      "--micro-batch 4 --threads 1 --data text-train --valid-data text-valid --valid-interval 5 "
      "--valid-batches 1 --lr 1e-2 ";
  // The same in a blink.
  static constexpr const char* kTiny =
      "train_llama --layers 2 --hidden 32 --heads 4 --kv-heads 2 --ffn 64 --seq 32 --global-batch 4 --micro-batch "
      "1 --threads 1 --data text-train --out out --save-interval 4 ";

  // What a step computed, not how long it took.
  std::vector<Line> metrics(const std::string& out) const {
    std::vector<Line> lines;
    for (const auto& object : json_lines(folder_ / out / "metrics.jsonl")) {
      if (!object.contains("step")) continue;
      Line& line = lines.emplace_back(Line{object["step"], {}});
      for (const char* key : {"loss", "grad_norm", "lr", "tokens", "loss_scale", "skipped", "valid_loss"})
        if (object.contains(key)) line.values[key] = object[key];
    }
    return lines;
  }
  std::filesystem::path checkpoint(int64_t step, const std::string& out = "out") const {
    return folder_ / out / "checkpoints" / fmt::format("step-{:06}", step);
  }
  Ran expect(const std::string& command, int code, std::initializer_list<const char*> words = {}) const {
    const Ran ran = in_folder("timeout 100 " + command + "; exit $?");
    EXPECT_EQ(ran.code, code) << command << "\n" << ran.text;
    for (const char* word : words) EXPECT_THAT(ran.text, testing::HasSubstr(word)) << command;
    return ran;
  }
  static void damage(const std::filesystem::path& file) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    ASSERT_TRUE(stream) << file;
    stream.seekg(static_cast<std::streamoff>(std::filesystem::file_size(file) / 2));
    const char byte = static_cast<char>(stream.get() ^ 0x10);
    stream.seekp(-1, std::ios::cur).put(byte);
  }
};

}  // namespace trine
