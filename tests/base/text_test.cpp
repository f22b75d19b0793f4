#include "base/text.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "base/hub_name.h"

namespace trine {
namespace {

TEST(FormatBytes, UsesBinaryUnits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(int64_t{3} << 29), "1.5 GiB");
  EXPECT_EQ(format_bytes(int64_t{5} << 50), "5120.0 TiB");
}

TEST(FormatCount, GroupsThousands) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-123456), "-123,456");
}

TEST(FormatDuration, UsesTwoUnits) {
  EXPECT_EQ(format_duration(0.4), "0s");
  EXPECT_EQ(format_duration(59.6), "1m 00s");
  EXPECT_EQ(format_duration(3599), "59m 59s");
  EXPECT_EQ(format_duration(3780), "1h 03m");
}

TEST(ParseBytes, TakesUnitsWithAndWithoutB) {
  EXPECT_EQ(parse_bytes("1024"), 1024);
  EXPECT_EQ(parse_bytes("22GiB"), int64_t{22} << 30);
  EXPECT_EQ(parse_bytes("500M"), int64_t{500} << 20);
  EXPECT_EQ(parse_bytes("1.5 kb"), std::nullopt) << "a unit ends in B or iB";
  EXPECT_EQ(parse_bytes("1.5 kB"), 1536);
  EXPECT_EQ(parse_bytes("7 B"), 7);
  for (const char* bad : {"", "GiB", "-1", "12x", "12 GiBs", "1e400", "1e30", "9e18K"})
    EXPECT_EQ(parse_bytes(bad), std::nullopt) << bad;
}

TEST(ParseInteger, TakesAnyDecimalNumberThatIsOne) {
  const std::pair<const char*, int64_t> good[] = {{"0", 0},
                                                  {"-0.0", 0},
                                                  {"007", 7},
                                                  {"+12", 12},
                                                  {"1e3", 1000},
                                                  {"-2.5E+1", -25},
                                                  {"1000e-3", 1},
                                                  {"1.50e1", 15},
                                                  {"3.", 3},
                                                  {".5e1", 5},
                                                  {"0e999", 0},
                                                  {"9007199254740993e0", 9007199254740993},
                                                  {"9.223372036854775807e18", INT64_MAX},
                                                  {"-9223372036854775808", INT64_MIN}};
  for (const auto& [text, value] : good) EXPECT_EQ(parse_integer(text), value) << text;
  for (const char* bad : {"",
                          "-",
                          "+-1",
                          "e3",
                          ".",
                          "1e",
                          "1e+",
                          "1e+-1",
                          "1.5",
                          "1e-3",
                          "1e19",
                          "9223372036854775808",
                          "1e99999999999",
                          "0x10",
                          "1 000",
                          "1,000",
                          "1k",
                          "nan",
                          "inf",
                          "1e3.0",
                          "1..0"})
    EXPECT_EQ(parse_integer(bad), std::nullopt) << bad;
}

TEST(Nearest, FindsATypoAndOnlyThat) {
  const std::vector<std::string> flags = {"--steps", "--seed", "--seq", "--micro-batch"};
  EXPECT_EQ(nearest("--step", flags), "--steps");
  EXPECT_EQ(nearest("--micro-bacth", flags), "--micro-batch");
  EXPECT_EQ(nearest("--sede", flags), "--seed");
  EXPECT_EQ(nearest("--learning-rate", flags), std::nullopt);
  EXPECT_EQ(nearest("x", {}), std::nullopt);
}

TEST(HubHint, OfNamesThatAreNoPathsHere) {
  const auto fetch = [](const char* name) {
    return testing::HasSubstr(std::string("hf download ") + name + " --local");
  };
  EXPECT_THAT(hub_hint("meta-llama/Llama-2-7b"), fetch("meta-llama/Llama-2-7b"));
  EXPECT_THAT(hub_hint("TinyLlama/TinyLlama-1.1B-Chat-v1.0"), fetch("TinyLlama/TinyLlama-1.1B-Chat-v1.0"));
  EXPECT_THAT(hub_hint("https://hub.example/meta-llama/Meta-Llama-3-8B/tree/main"),
              fetch("meta-llama/Meta-Llama-3-8B"));
  for (const char* other :
       {"", "llama2-7b", "/models/llama", "./models/llama", "a/b/c", "models/", "/x", "exports/config.json",
        "models/tokenizer.model", "two words/name", "https://hub.example", "https://hub.example/x"})
    EXPECT_EQ(hub_hint(other), "") << other;
  EXPECT_EQ(hub_hint("/proc/self"), "");
}

TEST(Problems, AreReportedTogether) {
  Problems problems;
  EXPECT_NO_THROW(problems.throw_if_any());
  problems.add("mesh", "{} ranks but tp*pp = {}.", 12, 16);
  problems.add("data", "nothing there.");
  EXPECT_THAT([&] { problems.throw_if_any(); },
              testing::ThrowsMessage<ConfigError>("[mesh] 12 ranks but tp*pp = 16.\n[data] nothing there."));
  try {
    problems.throw_if_any();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kConfig);
  }
}

TEST(Check, NamesTheConditionAndThePlace) {
  EXPECT_THAT([] { TRINE_CHECK(1 + 1 == 3, "because of {}", 7); },
              testing::ThrowsMessage<CheckError>(testing::AllOf(testing::HasSubstr("text_test.cpp"),
                                                                testing::HasSubstr("1 + 1 == 3 does not hold"),
                                                                testing::HasSubstr("because of 7"))));
}

}  // namespace
}  // namespace trine
