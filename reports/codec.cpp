#include "reports/codec.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

namespace reports::codec {

Members::Members(const Json& object, std::string where) : object_(object), where_(std::move(where))
{
    if (!object.is_object())
        fail(fmt::format("{} is {}, not an object", where_, object.type_name()));
}

void Members::fail(std::string sentence)
{
    if (error_.empty())
        error_ = std::move(sentence);
}

const Json* Members::member(const char* name, bool required)
{
    if (!error_.empty())
        return nullptr;
    if (const auto at = object_.find(name); at != object_.end())
        return &*at;
    if (required)
        fail(fmt::format("{} has no \"{}\"", where_, name));
    return nullptr;
}

std::string Members::text(const char* name)
{
    const auto* value = member(name, true);
    if (value == nullptr)
        return {};
    if (const auto* text = value->get_ptr<const std::string*>())
        return *text;
    fail(fmt::format("\"{}\" of {} is {}, not a string", name, where_, value->type_name()));
    return {};
}

std::string Members::optional_text(const char* name)
{
    return member(name, false) == nullptr ? std::string{} : text(name);
}

std::vector<std::string> Members::texts(const char* name)
{
    return texts_of(name, member(name, true));
}

std::vector<std::string> Members::optional_texts(const char* name)
{
    return texts_of(name, member(name, false));
}

std::vector<std::string> Members::texts_of(const char* name, const Json* value)
{
    if (value == nullptr)
        return {};
    if (!value->is_array()) {
        fail(fmt::format("\"{}\" of {} is {}, not a list", name, where_, value->type_name()));
        return {};
    }
    std::vector<std::string> texts;
    texts.reserve(value->size());
    for (const auto& item : *value) {
        const auto* text = item.get_ptr<const std::string*>();
        if (text == nullptr) {
            fail(fmt::format("\"{}\" of {} holds {}, not only strings", name, where_, item.type_name()));
            return {};
        }
        texts.push_back(*text);
    }
    return texts;
}

std::int64_t Members::integer(const char* name, std::int64_t least, std::int64_t most)
{
    const auto* value = member(name, true);
    if (value == nullptr)
        return 0;
    if (!value->is_number_integer()) {
        fail(fmt::format("\"{}\" of {} is no integer of 64 bits", name, where_));
        return 0;
    }
    // A number above the signed range is stored unsigned: reading it as signed would wrap around.
    const bool above =
        value->is_number_unsigned() && !std::in_range<std::int64_t>(value->get<std::uint64_t>());
    const auto number = above ? std::numeric_limits<std::int64_t>::max() : value->get<std::int64_t>();
    if (above || number < least || number > most) {
        fail(fmt::format("\"{}\" of {} is {}, outside {} to {}", name, where_, value->dump(), least, most));
        return 0;
    }
    return number;
}

std::uint64_t Members::bits(const char* name)
{
    const auto* value = member(name, true);
    if (value == nullptr)
        return 0;
    if (value->is_number_unsigned())
        return value->get<std::uint64_t>();
    fail(fmt::format("\"{}\" of {} is no unsigned integer of 64 bits", name, where_));
    return 0;
}

double Members::number(const char* name)
{
    const auto* value = member(name, true);
    if (value == nullptr)
        return 0;
    const double number = value->is_number() ? value->get<double>() : -1;
    if (std::isfinite(number) && number >= 0)
        return number;
    fail(fmt::format("\"{}\" of {} is no number from 0 up", name, where_));
    return 0;
}

double Members::figure(const char* name)
{
    const auto* value = member(name, true);
    if (value == nullptr)
        return 0;
    if (value->is_number() && std::isfinite(value->get<double>()))
        return value->get<double>();
    fail(fmt::format("\"{}\" of {} is no number", name, where_));
    return 0;
}

std::vector<double> Members::figures(const char* name)
{
    std::vector<double> numbers;
    const auto* values = list(name);
    if (values == nullptr)
        return numbers;
    numbers.reserve(values->size());
    for (const auto& value : *values) {
        if (!value.is_number() || !std::isfinite(value.get<double>())) {
            fail(fmt::format("\"{}\" of {} holds {}, not only numbers", name, where_, value.type_name()));
            return {};
        }
        numbers.push_back(value.get<double>());
    }
    return numbers;
}

bool Members::flag(const char* name)
{
    const auto* value = member(name, true);
    if (value == nullptr)
        return false;
    if (value->is_boolean())
        return value->get<bool>();
    fail(fmt::format("\"{}\" of {} is {}, not true or false", name, where_, value->type_name()));
    return false;
}

const Json* Members::object(const char* name)
{
    const auto* value = member(name, true);
    if (value == nullptr || value->is_object())
        return value;
    fail(fmt::format("\"{}\" of {} is {}, not an object", name, where_, value->type_name()));
    return nullptr;
}

const Json* Members::list(const char* name)
{
    const auto* value = member(name, true);
    if (value == nullptr || value->is_array())
        return value;
    fail(fmt::format("\"{}\" of {} is {}, not a list", name, where_, value->type_name()));
    return nullptr;
}

double finite(double value)
{
    return std::isfinite(value) && value > 0 ? value : 0;
}

Json to_json(const std::vector<std::string>& texts)
{
    Json list = Json::array();
    for (const auto& text : texts)
        list.push_back(text);
    return list;
}

Json to_json(const CaseResult& result)
{
    Json json = Json::object();
    json["id"] = result.id;
    json["suite"] = result.suite;
    json["title"] = result.title;
    json["level"] = to_string(result.level);
    json["verdict"] = to_string(result.verdict);
    json["duration_ms"] = std::max<std::int64_t>(result.duration_ms, 0);
    // Readers count on these four for anything but pass; a pass has them only when there is something to say.
    const bool always = result.verdict != Verdict::pass;
    if (always || !result.expected.empty())
        json["expected"] = result.expected;
    if (always || !result.observed.empty())
        json["observed"] = result.observed;
    if (!result.reason.empty())
        json["reason"] = result.reason;
    if (always || !result.log.empty())
        json["log"] = to_json(result.log);
    if (always || !result.again.empty())
        json["again"] = result.again;
    if (!result.measurements.empty())
        json["measurements"] = to_json(result.measurements);
    json["worker"] = result.worker;
    return json;
}

namespace {

Json measurement_json(const Measurement& measurement)
{
    Json json = Json::object();
    json["subject"] = measurement.subject;
    json["load"] = measurement.load;
    json["metric"] = measurement.metric;
    json["values"] = Json::array();
    // JSON cannot say them, and any number in their place would be made up.
    if (!is_finite(measurement)) {
        json["conclusion"] = "no figures: one of them was no finite number";
        return json;
    }
    for (const double value : measurement.values)
        json["values"].push_back(value);
    if (!measurement.against.empty()) {
        json["against"] = measurement.against;
        json["ratio"] = measurement.ratio;
        json["low"] = measurement.low;
        json["high"] = measurement.high;
    }
    if (!measurement.conclusion.empty())
        json["conclusion"] = measurement.conclusion;
    return json;
}

Measurement read_measurement(Members& from)
{
    Measurement measurement;
    measurement.subject = from.text("subject");
    measurement.load = from.text("load");
    measurement.metric = from.text("metric");
    measurement.values = from.figures("values");
    if (from.has("against")) {
        measurement.against = from.text("against");
        if (from.error().empty() && measurement.against.empty())
            from.fail(fmt::format("\"against\" of {} is empty", from.where()));
        measurement.ratio = from.figure("ratio");
        measurement.low = from.figure("low");
        measurement.high = from.figure("high");
    }
    measurement.conclusion = from.optional_text("conclusion");
    return measurement;
}

} // namespace

Json to_json(const std::vector<Measurement>& measurements)
{
    Json list = Json::array();
    for (const auto& measurement : measurements)
        list.push_back(measurement_json(measurement));
    return list;
}

Json to_json(const KernelInfo& kernel)
{
    Json json = Json::object();
    json["release"] = kernel.release;
    json["version"] = kernel.version;
    json["features"] = kernel.features;
    json["feature_names"] = to_json(kernel.feature_names);
    json["source"] = kernel.source;
    return json;
}

Json to_json(const Timing& timing)
{
    Json json = Json::object();
    json["what"] = timing.what;
    json["seconds"] = finite(timing.seconds);
    return json;
}

CaseResult read_case(Members& from)
{
    CaseResult result;
    result.id = from.text("id");
    if (from.error().empty() && result.id.empty())
        from.fail(fmt::format("\"id\" of {} is empty", from.where()));
    result.suite = from.text("suite");
    result.title = from.text("title");
    const auto level = from.text("level");
    const auto verdict = from.text("verdict");
    if (const auto known = level_from(level))
        result.level = *known;
    else
        from.fail(fmt::format("\"level\" of {} is \"{}\", which is no level", from.where(), quote(level)));
    if (const auto known = verdict_from(verdict))
        result.verdict = *known;
    else
        from.fail(
            fmt::format("\"verdict\" of {} is \"{}\", which is no verdict", from.where(), quote(verdict)));
    result.duration_ms = from.integer("duration_ms", 0, std::numeric_limits<std::int64_t>::max());
    const bool always = result.verdict != Verdict::pass;
    result.expected = always ? from.text("expected") : from.optional_text("expected");
    result.observed = always ? from.text("observed") : from.optional_text("observed");
    result.reason = from.optional_text("reason");
    result.log = always ? from.texts("log") : from.optional_texts("log");
    result.again = always ? from.text("again") : from.optional_text("again");
    result.measurements = read_measurements(from);
    result.worker = static_cast<int>(from.integer("worker", -1, std::numeric_limits<int>::max()));
    return result;
}

std::vector<Measurement> read_measurements(Members& from)
{
    return from.has("measurements") ? read_list<Measurement>(from, "measurements", read_measurement)
                                    : std::vector<Measurement>{};
}

KernelInfo read_kernel(Members& from)
{
    KernelInfo kernel;
    kernel.release = from.text("release");
    kernel.version = from.text("version");
    kernel.features = from.bits("features");
    kernel.feature_names = from.texts("feature_names");
    kernel.source = from.text("source");
    return kernel;
}

Timing read_timing(Members& from)
{
    Timing timing;
    timing.what = from.text("what");
    timing.seconds = from.number("seconds");
    return timing;
}

std::string dump(const Json& value, int indent)
{
    return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::expected<Json, std::string> parse(std::string_view text)
{
    auto json = Json::parse(text, nullptr, false);
    if (json.is_discarded())
        return std::unexpected{fmt::format("no JSON in UTF-8: \"{}\"", quote(text))};
    return json;
}

std::string quote(std::string_view text, std::size_t most)
{
    std::string quoted;
    for (const char c : text.substr(0, most))
        quoted += c >= ' ' && c <= '~' ? c : '?';
    if (text.size() > most)
        quoted += "...";
    return quoted;
}

} // namespace reports::codec
