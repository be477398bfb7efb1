// How values of the result vocabulary look as JSON. For reports itself and the guest's record of a case: it
// pulls in nlohmann/json.hpp, which no public header does.
#pragma once

#include "reports/result.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace reports::codec {

using Json = nlohmann::ordered_json;

// Takes members out of an object. The first thing that is wrong is kept as a sentence in error(); after that
// every member reads as empty, so that a caller reads all members and asks once.
class Members {
  public:
    // `where` names the object in messages: "case 3 of cases". Anything but an object is an error.
    Members(const Json& object, std::string where);

    std::string text(const char* name);
    std::string optional_text(const char* name);
    std::vector<std::string> texts(const char* name);
    std::vector<std::string> optional_texts(const char* name);
    std::int64_t integer(const char* name, std::int64_t least, std::int64_t most);
    std::uint64_t bits(const char* name);
    double number(const char* name); // finite, not negative
    double figure(const char* name); // finite
    std::vector<double> figures(const char* name);
    bool has(const char* name) { return member(name, false) != nullptr; }
    bool flag(const char* name);
    const Json* object(const char* name); // nullptr after an error
    const Json* list(const char* name);   // nullptr after an error

    void fail(std::string sentence); // the first one stays
    const std::string& error() const { return error_; }
    const std::string& where() const { return where_; }

  private:
    const Json* member(const char* name, bool required);
    std::vector<std::string> texts_of(const char* name, const Json* value);

    const Json& object_;
    std::string where_;
    std::string error_;
};

Json to_json(const CaseResult& result);
Json to_json(const KernelInfo& kernel);
Json to_json(const Timing& timing);
Json to_json(const std::vector<Measurement>& measurements);
Json to_json(const std::vector<std::string>& texts);
double finite(double value); // 0 for what JSON cannot say, and for negative times

CaseResult read_case(Members& from);
KernelInfo read_kernel(Members& from);
Timing read_timing(Members& from);
std::vector<Measurement> read_measurements(Members& from); // the member "measurements"; absent: none

// Reads each object of the list `name`; `read` takes the Members of one.
template <typename T, typename Read>
std::vector<T> read_list(Members& from, const char* name, Read read)
{
    std::vector<T> values;
    const auto* list = from.list(name);
    if (list == nullptr)
        return values;
    for (const auto& item : *list) {
        Members members{item, fmt::format("item {} of \"{}\"", values.size() + 1, name)};
        values.push_back(read(members));
        from.fail(members.error());
    }
    return values;
}

// Never throws: bytes that are not UTF-8 become U+FFFD.
std::string dump(const Json& value, int indent = -1);
// Never throws; the error is a sentence.
std::expected<Json, std::string> parse(std::string_view text);
// At most `most` bytes of text that a message may quote: control characters and the like made harmless.
std::string quote(std::string_view text, std::size_t most = 60);

} // namespace reports::codec
