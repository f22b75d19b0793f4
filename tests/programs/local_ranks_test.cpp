// train_llama --local-ranks: ranks as threads of one process. Built with ThreadSanitizer, a race is a failure here
// (scripts/test.sh --full).
#include "tests/programs/mpirun.h"

namespace trine {
namespace {

class LocalRanks : public ProgramTest {
 protected:
  double first_loss(const std::string& command, const std::string& out) const {
    const Ran ran = in_folder(command + " --out " + out);
    EXPECT_EQ(ran.code, 0) << command << "\n" << ran.text;
    for (const auto& line : json_lines(folder_ / out / "metrics.jsonl"))
      if (line.contains("loss")) return line["loss"];
    ADD_FAILURE() << "no loss: " << command << "\n" << ran.text;
    return 0;
  }
};

TEST_F(LocalRanks, TrainTheModelOfOne) {
  prepare();
  const std::string train =
      "train_llama --layers 4 --hidden 32 --heads 4 --kv-heads 2 --ffn 64 --seq 32 --global-batch 6 --micro-batch "
      "1 --steps 2 --threads 1 --data text-train ";
  const double expected = first_loss(train, "one");
  int number = 0;
  for (const char* flags : {"8 --tp 2 --pp 2 --trace on --valid-fraction 0.1 --valid-interval 1",
                            "4 --tp 2 --pp 2 --schedule interleaved --vpp 2 --recompute selective",
                            "4 --pp 4 --schedule zero-bubble --tie-embeddings on", "4 --tp 2 --zero 0 --sp off",
                            "3 --grad-reduce bf16", "2 --pp 2 --schedule gpipe --dtype fp16"}) {
    const double loss = first_loss(train + "--local-ranks " + flags, std::to_string(number++));
    const bool same_model = std::string_view(flags).find("tie") == std::string_view::npos;
    if (same_model) {
      EXPECT_NEAR(loss / expected, 1, 2e-3) << flags;
    }
  }
}

}  // namespace
}  // namespace trine
