#include "base/text.h"

#include <gmock/gmock.h>

#include "base/error.h"

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
  for (const char* bad : {"", "GiB", "-1", "12x", "12 GiBs", "1e400"})
    EXPECT_EQ(parse_bytes(bad), std::nullopt) << bad;
}

TEST(Nearest, FindsATypoAndOnlyThat) {
  const std::vector<std::string> flags = {"--steps", "--seed", "--seq", "--micro-batch"};
  EXPECT_EQ(nearest("--step", flags), "--steps");
  EXPECT_EQ(nearest("--micro-bacth", flags), "--micro-batch");
  EXPECT_EQ(nearest("--sede", flags), "--seed");
  EXPECT_EQ(nearest("--learning-rate", flags), std::nullopt);
  EXPECT_EQ(nearest("x", {}), std::nullopt);
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
