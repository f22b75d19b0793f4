// Command lines as the field's public scripts have them, beside what the same training is called here.
#include "plan/config/megatron_flags.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <unistd.h>

#include "plan/config/flags.h"

namespace trine {
namespace {

using testing::HasSubstr;
using testing::Not;

CommandLine parse_line(const std::string& line, int num_ranks) {
  std::istringstream words("train_llama " + line);
  std::vector<std::string> args{std::istream_iterator<std::string>(words), {}};
  std::vector<const char*> argv;
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  return parse_train_flags(static_cast<int>(argv.size()), argv.data(), {num_ranks, num_ranks, 2, "20250131-235959"},
                           "", {}, [](const ResumeWish&) { return std::nullopt; });
}
Config parse(const std::string& line, int num_ranks = 1) { return std::get<Config>(parse_line(line, num_ranks)); }
std::string error_of(const std::string& line) {
  try {
    parse(line);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}
// Equal in all that config.json says.
void expect_same(const std::string& megatron, const std::string& ours, int num_ranks = 1) {
  EXPECT_EQ(to_json(parse(megatron, num_ranks)).dump(1), to_json(parse(ours, num_ranks)).dump(1)) << megatron;
}

constexpr const char* kOurs7B =
    "--model llama2-7b --layers 32 --hidden 4096 --ffn 11008 --heads 32 --kv-heads 32 --head-dim 128 --vocab 32000 "
    "--norm-eps 1e-5 --rope-theta 10000 --init-std 0.02 --max-position 4096 --tie-embeddings off --seq 4096 "
    "--micro-batch 1 --global-batch 64 --steps 1000 --lr 3e-4 --min-lr 3e-5 --lr-schedule cosine --weight-decay "
    "0.1 --clip 1.0 --beta1 0.9 --beta2 0.95 --eps 1e-8 --dtype bf16 --tp 2 --pp 2 --data d/corpus_text_document "
    "--tokenizer d/tokenizer.model --log-interval 1 --save-interval 100 --valid-interval 50 --valid-batches 10 ";

constexpr const char* kMegatron7B =
    "--model llama2-7b --use-mcore-models --num-layers 32 --hidden-size 4096 --ffn-hidden-size 11008 "
    "--num-attention-heads 32 --group-query-attention --num-query-groups 32 --kv-channels 128 --seq-length 4096 "
    "--max-position-embeddings 4096 --position-embedding-type rope --rotary-base 10000 --rotary-percent 1.0 "
    "--attention-dropout 0.0 --hidden-dropout 0 --swiglu --init-method-std 0.02 --attention-backend fused "
    "--normalization RMSNorm --norm-epsilon 1e-5 --untie-embeddings-and-output-weights --disable-bias-linear "
    "--vocab-size 32000 --make-vocab-size-divisible-by 128 "
    "--micro-batch-size 1 --global-batch-size 64 --train-iters 1000 --lr-decay-iters 1000 --lr 3e-4 --min-lr 3e-5 "
    "--lr-decay-style cosine --clip-grad 1.0 --weight-decay 0.1 --optimizer adam --adam-beta1 0.9 --adam-beta2 "
    "0.95 --adam-eps 1e-8 --bf16 --cross-entropy-loss-fusion --calculate-per-token-loss --manual-gc "
    "--empty-unused-memory-level 1 --initial-loss-scale 65536 --attention-softmax-in-fp32 "
    "--tensor-model-parallel-size 2 --pipeline-model-parallel-size 2 --context-parallel-size 1 --sequence-parallel "
    "--use-distributed-optimizer --overlap-grad-reduce --overlap-param-gather --distributed-backend nccl "
    "--data-path d/corpus_text_document --tokenizer-type Llama2Tokenizer --tokenizer-model d/tokenizer.model "
    "--data-cache-path cache --no-mmap-bin-files --num-workers 1 --dataloader-type cyclic "
    "--log-interval 1 --eval-iters 10 --eval-interval 50 --save-interval 100 --log-throughput "
    "--timing-log-level 1 --transformer-impl local --no-masked-softmax-fusion --use-flash-attn ";

TEST(MegatronFlags, AUsualLineTrainsTheSame) {
  const auto megatron = [](const char* more) { return std::string(kMegatron7B) + more; };
  const auto ours = [](const char* more) { return std::string(kOurs7B) + more; };
  expect_same(megatron("--split 99,1,0 --lr-warmup-fraction .01 --distributed-timeout-minutes 60"),
              ours("--valid-fraction 0.01 --warmup 10 --timeout 3600 --zero 1"), 8);
  expect_same(megatron("--split 949,50,1 --lr-warmup-iters 20 --exit-duration-in-mins 235 --grad-reduce-in-bf16"),
              ours("--valid-fraction 0.051 --warmup 20 --time-limit 14100 --grad-reduce bf16 --zero 1"), 8);
  expect_same(megatron("--split 100,0,0 --recompute-activations --save ckpt --load ckpt"),
              ours("--valid-fraction 0 --recompute selective --save ckpt --zero 1"), 8);
  expect_same(
      megatron("--recompute-granularity full --recompute-method uniform --recompute-num-layers 4 --profile"),
      ours("--recompute group:4 --trace 11:12 --zero 1"), 8);
}

// As DeepSpeed's variant is called; and counted in samples, with 2 chunks of 4 layers on each of 4 pipeline ranks.
TEST(MegatronFlags, OlderAndRarerLines) {
  expect_same(
      "--num-layers 8 --num-key-value-heads 2 --layernorm-epsilon 1e-6 --no-query-key-layer-scaling "
      "--use-rotary-position-embeddings --normalization rmsnorm --checkpoint-activations --fp16 --zero-stage 0 "
      "--data-impl mmap --hysteresis 1 --loss-scale-window 1000",
      "--layers 8 --kv-heads 2 --norm-eps 1e-6 --recompute full --dtype fp16 --zero 0");
  expect_same(
      "--num-layers 32 --pipeline-model-parallel-size 4 --num-layers-per-virtual-pipeline-stage 4 "
      "--global-batch-size 64 --train-samples 6400 --lr-decay-samples 6400 --lr-warmup-samples 640",
      "--layers 32 --pp 4 --vpp 2 --schedule interleaved --global-batch 64 --steps 100 --warmup 10", 4);
  expect_same("--num-virtual-stages-per-pipeline-rank 2 --pipeline-model-parallel-size 4",
              "--pp 4 --vpp 2 --schedule interleaved", 4);
  expect_same("--account-for-embedding-in-pipeline-split --account-for-loss-in-pipeline-split",
              "--stage-split layers-and-ends");
  expect_same("--use-rope-scaling --rope-scaling-factor 32", "--rope-scaling llama3:32");
  expect_same("--rotary-seq-len-interpolation-factor 4", "--rope-scaling linear:4");
  expect_same("--data-path 1.0 a --eval-iters 0", "--data a --valid-batches 0");
  expect_same("--train-data-path a b --valid-data-path c", "--data a b --valid-data c");
  expect_same("--load w --finetune --model tiny", "--load-weights w --model tiny");
}

TEST(MegatronFlags, WhatIsNotTheSameIsRefusedWithOurFlag) {
  const std::pair<const char*, std::vector<const char*>> cases[] = {
      {"--attention-dropout 0.1", {"--attention-dropout 0.1: there is no dropout"}},
      {"--normalization LayerNorm", {"--normalization LayerNorm", "--norm-eps"}},
      {"--position-embedding-type learned_absolute", {"--rope-theta"}},
      {"--optimizer sgd", {"AdamW"}},
      {"--lr-decay-iters 320000", {"--min-lr at the last step"}},
      {"--train-samples 1953125000 --global-batch-size 128", {"Say --steps"}},
      {"--data-path 0.3 a 0.7 b", {"without weights"}},
      {"--exit-interval 100", {"--time-limit"}},
      {"--account-for-embedding-in-pipeline-split", {"--account-for-loss-in-pipeline-split", "--stage-split"}},
      {"--account-for-loss-in-pipeline-split", {"--account-for-embedding-in-pipeline-split", "--stage-split"}},
      {"--fp8-format hybrid", {"--dtype"}},
      {"--context-parallel-size 2", {"--tp"}},
      {"--load elsewhere --save here", {"--resume DIR", "--load-weights DIR"}},
      {"--tokenizer-type GPT2BPETokenizer --vocab-file v --merge-file m", {"--tokenizer", "tokenizer.json"}},
      {"--tensorboard-dir logs", {"tb/", "--out"}},
      {"--wandb-project p", {"wandb sync"}},
      {"--ckpt-format torch_dist", {"export-hf"}},
      {"--mock-data", {"--data"}},
      {"--recompute-granularity full --recompute-method block --recompute-num-layers 2", {"group:K"}},
      {"--fp16 --hysteresis 2", {"--loss-scale"}},
      {"--make-vocab-size-divisible-by 128 --vocab-size 32001", {"--vocab"}},
      {"--split 1,x", {"--valid-fraction"}},
      {"--bf16 --fp16", {"--fp16 means --dtype fp16, but that is bf16 already"}},
      {"--bf16 --dtype f32", {"--bf16 means --dtype bf16, but that is f32 already"}},
  };
  for (const auto& [line, parts] : cases) {
    const std::string error = error_of(line);
    for (const char* part : parts) EXPECT_THAT(error, HasSubstr(part)) << line;
    EXPECT_THAT(error, Not(HasSubstr("is not a flag"))) << line;
  }
  EXPECT_THAT(error_of("--swiglu --adam-beta3 1"), HasSubstr("Did you mean --adam-beta1?"));
}

// In a file too, under any name; and the command line wins.
TEST(MegatronFlags, ConfigFilesTakeAllNames) {
  const std::string path = testing::TempDir() + fmt::format("megatron-{}.json", ::getpid());
  const auto with_file = [&](const nlohmann::json& json, const std::string& line = "") {
    std::ofstream(path) << json.dump();
    return "--config " + path + " " + line;
  };
  const nlohmann::json file = {
      {"num-layers", 4},    {"adam-beta2", 0.99},   {"train-iters", 1e3},        {"fp16", true},
      {"bf16", false},      {"swiglu", true},       {"lr-warmup-fraction", 0.1}, {"split", "98,2,0"},
      {"data-path", {"a"}}, {"micro-batch-size", 2}};
  const std::string ours =
      "--layers 4 --beta2 0.99 --steps 1000 --dtype fp16 --warmup 100 --data a --micro-batch 2 ";
  expect_same(with_file(file), ours + "--valid-fraction 0.02");
  expect_same(with_file(file, "--bf16 --valid-fraction 0.5"), ours + "--dtype bf16 --valid-fraction 0.5");
  EXPECT_THAT(error_of(with_file({{"swiglu", 1}, {"normalization", "LayerNorm"}, {"split", nullptr}})),
              testing::AllOf(HasSubstr("'swiglu' is 1; it needs true or false"),
                             HasSubstr("--normalization LayerNorm"), HasSubstr("'split' is null")));
  std::filesystem::remove(path);
}

TEST(MegatronFlags, AreNamedOnceAndListed) {
  std::set<std::string_view> names = {"help", "help-megatron", "version", "config"};
  for (const Flag& flag : flag_table()) {
    EXPECT_TRUE(names.insert(flag.name).second) << flag.name;
    for (const std::string_view alias : flag.aliases) EXPECT_TRUE(names.insert(alias).second) << alias;
  }
  const std::string help = std::get<TextRequest>(parse_line("--help-megatron", 1)).text;
  for (const MegatronFlag& flag : megatron_flags()) {
    EXPECT_TRUE(names.insert(flag.name).second) << flag.name;
    EXPECT_THAT(help, HasSubstr(fmt::format("  --{} ", flag.name)));
  }
  EXPECT_THAT(help, HasSubstr("--num-layers "));
  const std::string plain = std::get<TextRequest>(parse_line("--help", 1)).text;
  EXPECT_THAT(plain, HasSubstr("--help-megatron"));
  EXPECT_THAT(plain, Not(HasSubstr("--swiglu")));
}

}  // namespace
}  // namespace trine
