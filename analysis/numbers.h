// How numbers and lengths of time look in a sentence.
#pragma once

#include <string>

namespace trine {

// "1,234", "0.0175", "5.41": four digits, and all of larger whole numbers.
std::string short_number(double value);
// The same with three digits.
std::string rough_number(double value);

// Of money: "656,631", and cents below a hundred: "0.74".
std::string usd_number(double usd);

// What a length of time is told in: minutes below two hours, hours below two days.
struct TimeUnit {
  double per_day = 1;
  const char* name = "days";
};
TimeUnit unit_of_days(double days);
// "86.78 days", "14.2 hours", "57.8 minutes".
std::string days_text(double days);

}  // namespace trine
