// Layouts that cannot be: what is said, and that each layout which is offered instead is accepted.
#include "plan/config/layouts.h"

#include <gmock/gmock.h>
#include <sstream>

#include "plan/config/flags.h"

namespace trine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Args = std::vector<std::string>;

Config parse(int ranks, const Args& args) {
  std::vector<const char*> argv = {"train_llama"};
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  const LaunchInfo launch{ranks, ranks, ranks, "20250131-235959"};
  return std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), launch, ""));
}

std::string error_of(int ranks, const Args& args) {
  try {
    parse(ranks, args);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

// "the nearest valid layouts of 12 ranks: --tp 2 --pp 6, --tp 4 --pp 3."
std::vector<Args> offered(const std::string& error) {
  std::vector<Args> layouts;
  const size_t line = error.find("[layout]");
  if (line == std::string::npos) return layouts;
  std::istringstream text(error.substr(error.find(": ", line) + 2, error.find(".\n", line)));
  for (std::string word; text >> word;) {
    if (layouts.empty()) layouts.emplace_back();
    const char last = word.back();
    if (last == ',' || last == '.') word.pop_back();
    layouts.back().push_back(word);
    if (last == ',') layouts.emplace_back();
    if (last == '.') break;
  }
  return layouts;
}

TEST(Layouts, TheNearestAreNamed) {
  EXPECT_THAT(
      error_of(12, {"--tp", "2", "--pp", "8"}),
      HasSubstr("[mesh] 12 ranks but tp*pp = 16. Start a multiple of 16 ranks, or lower --tp or --pp.\n"
                "[layout] the nearest valid layouts of 12 ranks: --tp 2 --pp 6, --tp 4 --pp 3, --tp 1 --pp 6."));
  EXPECT_THAT(error_of(2, {"--micro-batch", "32"}), HasSubstr("layouts of 2 ranks: --micro-batch 16, "));
  EXPECT_THAT(error_of(3, {}),
              HasSubstr("layouts of 3 ranks: --tp 1 --pp 3, --global-batch 30, --global-batch 36."));
  EXPECT_THAT(error_of(4, {"--pp", "4", "--vpp", "2"}), HasSubstr("layouts of 4 ranks: --schedule interleaved, "));
}

TEST(Layouts, EveryOfferedLayoutIsAccepted) {
  const std::vector<std::pair<int, Args>> wrong = {
      {12, {"--tp", "2", "--pp", "8"}},
      {3, {}},
      {3, {"--tp", "3"}},
      {11, {"--tp", "2", "--pp", "4"}},
      {9, {"--pp", "9"}},
      {64, {"--model", "llama2-70b", "--tp", "5"}},
      {48, {"--model", "llama2-70b", "--tp", "16", "--pp", "2", "--micro-batch", "7"}},
      {2, {"--micro-batch", "32"}},
      {2, {"--vpp", "2"}},
      {4, {"--pp", "4", "--vpp", "2"}},
      {4, {"--pp", "4", "--vpp", "3", "--schedule", "interleaved"}},
      {4, {"--pp", "4", "--vpp", "2", "--schedule", "interleaved", "--global-batch", "26", "--micro-batch", "2"}},
      {6, {"--pp", "6", "--schedule", "interleaved", "--global-batch", "23"}},
      {4, {"--pp", "4", "--global-batch", "10", "--micro-batch", "4"}},
      {4, {"--tp", "4", "--seq", "1", "--micro-batch", "1"}},
      {4, {"--tp", "4", "--vocab", "9", "--bos", "1", "--eos", "2"}},
      {3, {"--heads", "6", "--head-dim", "32", "--kv-heads", "2", "--tp", "3"}},
      {6, {"--heads", "6", "--head-dim", "32", "--kv-heads", "2", "--tp", "3", "--pp", "3"}},
      {16, {"--dp", "2", "--tp", "2"}},
  };
  for (const auto& [ranks, args] : wrong) {
    const std::string error = error_of(ranks, args);
    const std::vector<Args> layouts = offered(error);
    EXPECT_FALSE(layouts.empty()) << error;
    for (const Args& layout : layouts) {
      Args changed = args;
      changed.insert(changed.end(), layout.begin(), layout.end());
      EXPECT_EQ(error_of(ranks, changed), "") << error;
    }
  }
}

TEST(Layouts, EachProblemIsSaid) {
  const std::vector<std::tuple<int, Args, const char*>> cases = {
      {3,
       {"--heads", "6", "--head-dim", "32", "--kv-heads", "2", "--tp", "3"},
       "tp 3 neither divides 2 kv heads nor is a multiple of them. Take --tp from 1, 2, 6."},
      {3, {"--tp", "3"}, "4 heads cannot be split over tp 3. Take --tp from 1, 2, 4."},
      {2, {"--vpp", "2", "--schedule", "interleaved"}, "--vpp 2 needs several pipeline ranks."},
      {4, {"--pp", "4", "--vpp", "2"}, "--vpp 2 needs --schedule interleaved, but it is 1f1b."},
      {4, {"--tp", "4", "--vocab", "9"}, "vocab 9 over tp 4 leaves a rank without any."},
      {4, {"--tp", "4", "--ffn", "6"}, "ffn 6 over tp 4 leaves a rank without any."},
      {4, {"--tp", "4", "--seq", "1", "--micro-batch", "1"}, "1 * 1 tokens over tp 4 leaves a rank without any."},
      {4,
       {"--pp", "4", "--schedule", "interleaved", "--global-batch", "13", "--micro-batch", "1"},
       "[schedule] 13 microbatches do not split into 3 equal rounds"},
      {1,
       {"--dry-run", "--ranks", "12", "--tp", "8"},
       "12 ranks but tp*pp = 8. Plan a multiple of 8 ranks (--ranks)"},
      {1, {"--json"}, "--json is a form of --dry-run. Add --dry-run."},
  };
  for (const auto& [ranks, args, message] : cases) EXPECT_THAT(error_of(ranks, args), HasSubstr(message));
}

// Uneven splits that leave nobody without work are fine.
TEST(Layouts, WhatNeedNotDivide) {
  EXPECT_EQ(parse(4, {"--tp", "4"}).mesh.tp, 4);                  // 2 kv heads, vocab 259
  EXPECT_EQ(parse(3, {"--pp", "3", "--ffn", "345"}).mesh.pp, 3);  // 8 layers
  EXPECT_EQ(parse(2, {"--tp", "2", "--seq", "127"}).mesh.tp, 2);  // tokens
  EXPECT_EQ(parse(1, {"--zero", "1"}).zero, 1);                   // without effect
  EXPECT_EQ(parse(1, {"--dry-run", "--ranks", "4096", "--model", "llama2-70b", "--tp", "8"}).mesh.dp, 512);
}

TEST(LayoutWarnings, FewMicrobatches) {
  EXPECT_THAT(layout_warnings(parse(4, {"--pp", "4"})), IsEmpty());  // 16 microbatches
  EXPECT_THAT(layout_warnings(parse(4, {"--tp", "4", "--global-batch", "1"})), IsEmpty());
  EXPECT_THAT(
      layout_warnings(parse(8, {"--pp", "4", "--micro-batch", "2"})),
      ElementsAre("[schedule] 8 microbatches for pp 4: 27 % of the ranks' time is idle at best "
                  "((p-1)/(m+p-1)). 16 would make it 16 %: raise --global-batch to 64, lower --micro-batch to "
                  "1, or lower --pp; --schedule zero-bubble would make it 11 %."));
  EXPECT_THAT(layout_warnings(parse(8, {"--pp", "4", "--micro-batch", "2", "--schedule", "zero-bubble"})),
              IsEmpty());
  // What it says to do helps.
  EXPECT_THAT(layout_warnings(parse(8, {"--pp", "4", "--micro-batch", "2", "--global-batch", "64"})), IsEmpty());
  EXPECT_THAT(layout_warnings(parse(8, {"--pp", "4", "--micro-batch", "1"})), IsEmpty());
  const Args interleaved = {"--pp", "4", "--micro-batch", "8", "--schedule", "interleaved", "--vpp", "2"};
  EXPECT_THAT(layout_warnings(parse(4, interleaved)), ElementsAre(HasSubstr("27 % of the ranks' time is idle")));
}

// GPT-2's 50,257 tokens, and 50,304, which nanoGPT pads them to (the next multiple of 64).
TEST(LayoutWarnings, LogitsWithOddRows) {
  const Args gpt2 = {"--device", "cuda", "--vocab", "50257"};
  EXPECT_THAT(
      layout_warnings(parse(1, gpt2)),
      ElementsAre(AllOf(HasSubstr("[vocab] 50257 tokens:"), HasSubstr("16 bytes"), HasSubstr("--vocab 50304 "))));
  EXPECT_THAT(layout_warnings(parse(1, {"--device", "cuda", "--vocab", "50304"})), IsEmpty());
  EXPECT_THAT(layout_warnings(parse(1, {"--device", "cpu", "--vocab", "50257"})), IsEmpty());
  EXPECT_THAT(layout_warnings(parse(1, {"--device", "cuda", "--vocab", "261"})), IsEmpty());
  // 32,016 over 4: rows of 8,004 numbers.
  EXPECT_THAT(layout_warnings(parse(4, {"--device", "cuda", "--tp", "4", "--vocab", "32016"})),
              ElementsAre(AllOf(HasSubstr("32016 tokens over tp 4"), HasSubstr("--vocab 32256 "))));
  EXPECT_THAT(layout_warnings(parse(4, {"--device", "cuda", "--tp", "4", "--vocab", "32256"})), IsEmpty());
}

}  // namespace
}  // namespace trine
