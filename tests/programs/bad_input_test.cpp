// Bad input: each has its exit code and a message that names the culprit, and nothing is lost.
#include "tests/programs/run.h"
#include "tests/test_data.h"

namespace trine {
namespace {

class BadInput : public ProgramTest {
 protected:
  void expect(const std::string& command, int code, std::initializer_list<const char*> words) const {
    const Ran ran = in_folder("timeout 60 " + command);
    EXPECT_EQ(ran.code, code) << command << "\n" << ran.text;
    for (const char* word : words)
      EXPECT_NE(ran.text.find(word), std::string::npos) << "no '" << word << "' in\n" << ran.text;
  }
  void write(const char* name, const std::string& contents) const {
    std::ofstream(folder_ / name, std::ios::binary) << contents;
  }
  static std::string hf(const char* model) { return test_data() + "/hf_llama/" + model; }
  void copy_model(const char* model) const {
    std::filesystem::copy(hf(model), folder_ / "model", std::filesystem::copy_options::recursive);
  }
};

TEST_F(BadInput, FlagsNameTheNearest) {
  expect("train_llama --stpes 3", 2, {"--stpes", "--steps"});
  expect("train_llama --steps many", 2, {"--steps", "many"});
  expect("train_llama --model tinny", 2, {"tinny", "tiny"});
  expect("train_llama --dtype fp8", 2, {"--dtype", "fp8", "bf16"});
  expect("train_llama --disable-pass bukets", 2, {"bukets"});
  expect("prepare_data --tokeniser bytes text.txt --out x", 2, {"--tokeniser", "--tokenizer"});
}

TEST_F(BadInput, ImpossibleSizesAreReportedTogether) {
  expect("train_llama --heads 3 --kv-heads 2 --lr -1 --global-batch 5 --micro-batch 2", 2,
         {"kv", "--lr", "--global-batch"});
  expect("train_llama --layers 0 --hidden 0", 2, {"--layers", "--hidden"});
  expect("train_llama --tp 2", 2, {"[mesh] 1 rank but tp*pp = 2"});
  ::setenv("CUDA_VISIBLE_DEVICES", "", 1);  // whatever this machine has
  expect("train_llama --device cuda", 2, {"[cuda]", "--device cpu"});
  expect("train_llama --device cuda --tp 2 --local-ranks 2", 2, {"[cuda]", "--device cpu"});
  expect("train_llama --device cuda --dry-run", 0, {});
  expect("train_llama --comm nccl", 2, {"--comm nccl", "--device cuda"});
  expect("train_llama --resume", 7, {"--resume", "no completed checkpoint"});
  expect("train_llama --help", 0, {"--micro-batch-size", "cpu|cuda", "auto|mpi|nccl"});
}

TEST_F(BadInput, DataFiles) {
  prepare();
  const std::string train = std::string(kSmall) + "--steps 2 ";
  expect(train + "--data nowhere", 3, {"nowhere"});
  write("empty.bin", "");
  expect(train + "--data empty.bin", 3, {"empty.bin"});
  write("foreign.bin", std::string(5000, 'x'));
  expect(train + "--data foreign.bin", 3, {"foreign.bin"});
  expect(train + "--data text.txt", 3, {"text.txt", "prepare_data"});
  std::filesystem::copy(folder_ / "text-train.idx", folder_ / "cut.idx");
  write("cut.bin", read_file(folder_ / "text-train.bin").substr(0, 1000));
  expect(train + "--data cut", 3, {"cut"});
  expect(train + "--vocab 100", 3, {"text-train.bin", "100"});
  expect(train + "--seq 1000000", 3, {"1000000"});
}

TEST_F(BadInput, TokenizerMismatch) {
  prepare();
  std::string info = read_file(folder_ / "text.json");
  const size_t at = info.find("hash");
  ASSERT_NE(at, std::string::npos) << info;
  const size_t digit = info.find_first_of("0123456789abcdef", info.find(':', at) + 3);
  info[digit] = info[digit] == '0' ? '1' : '0';
  write("text.json", info);
  expect(std::string(kSmall) + "--steps 2", 2, {"tokenizer"});
  expect("train_llama --tokenizer nowhere.model --steps 1", 3, {"nowhere.model"});
  write("broken.model", "this is no model");
  expect("train_llama --tokenizer broken.model --steps 1", 3, {"broken.model"});
}

TEST_F(BadInput, BrokenModels) {
  write("config.json", "{ \"model_type\": \"llama\", ");
  expect("train_llama --model config.json", 3, {"config.json"});
  write("config.json", "{ \"model_type\": \"gpt2\" }");
  expect("train_llama --model config.json", 3, {"config.json", "gpt2"});
  prepare();
  const std::string train =
      "train_llama --data text-train --seq 32 --global-batch 4 --steps 1 --threads 1 --load-weights model";
  copy_model("deep");
  const std::string weights = read_file(folder_ / "model/model.safetensors");
  write("model/model.safetensors", weights.substr(0, weights.size() / 2));
  expect(train, 3, {"model.safetensors"});
  write("model/model.safetensors", "xxxxxxxx" + weights.substr(8));
  expect(train, 3, {"model.safetensors"});
  std::filesystem::remove(folder_ / "model/model.safetensors");
  expect(train, 3, {"model"});
  expect(train + " --model tiny --out o", 3, {"model"});
  write("model/model.safetensors", weights);
  expect(train + " --model tiny --out o", 3, {"shape"});
}

TEST_F(BadInput, OutOfMemoryPrintsTheTable) {
  expect("train_llama --model llama2-70b --vocab 32000", 4, {"Adam: master weights", "total", "--micro-batch"});
#if !defined(__SANITIZE_ADDRESS__)  // whose shadow memory needs the whole address space
  expect("bash -c \"ulimit -v 700000; train_llama --model bench-m\"", 4,
         {"refuses", "Adam: master weights", "total"});
#endif
}

TEST_F(BadInput, NonFiniteIsNamedAndNotApplied) {
  copy_model("deep");
  prepare();
  // One weight of the safetensors file becomes an infinity: the first tensor that it reaches is named.
  std::string weights = read_file(folder_ / "model/model.safetensors");
  const std::string infinity("\x00\x00\x80\x7f", 4);
  weights.replace(weights.size() - 4, 4, infinity);
  write("model/model.safetensors", weights);
  const std::string train =
      "train_llama --data text-train --seq 32 --global-batch 4 --threads 1 --dtype f32 --load-weights model ";
  expect(train + "--steps 2 --out a", 9, {"not finite", "first non-finite tensor", "microbatch 0"});
  expect(train + "--steps 2 --out b --on-non-finite skip", 0, {"skipped"});
  EXPECT_NE(read_file(folder_ / "b/metrics.jsonl").find("\"skipped\":true"), std::string::npos);
}

TEST_F(BadInput, FullDiskWarnsOnceAndTrainingGoesOn) {
  prepare();
  const Ran ran = in_folder("trap \"\" XFSZ; ulimit -f 24; " + std::string(kSmall) +
                            "--steps 100 --trace on --log-interval 50");
  EXPECT_EQ(ran.code, 3) << ran.text;
  EXPECT_NE(ran.text.find("step 100/100"), std::string::npos) << ran.text;
  size_t warnings = 0;
  for (size_t at = ran.text.find("warning:"); at != std::string::npos; at = ran.text.find("warning:", at + 1))
    ++warnings;
  EXPECT_LE(warnings, 3u) << ran.text;  // one for each file
  EXPECT_GE(warnings, 1u) << ran.text;
}

TEST_F(BadInput, RunFolderThatCannotBeMade) {
  prepare();
  write("file", "");
  expect(std::string(kSmall) + "--steps 1 --out file/run", 3, {"file"});
}

}  // namespace
}  // namespace trine
