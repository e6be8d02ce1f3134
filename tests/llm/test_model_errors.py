"""What a server's error responses mean."""

from __future__ import annotations

import json

import pytest

from wxgptd.domain.model.values import FailureReason
from wxgptd.llm import model_errors
from wxgptd.llm.failure_detail import printable

QUOTA, LONG, NO = FailureReason.QUOTA, FailureReason.TOO_LONG, FailureReason.CONTENT_FILTER
DOWN, WRONG, BUSY = FailureReason.UNAVAILABLE, FailureReason.MISCONFIGURED, FailureReason.BUSY


@pytest.mark.parametrize(
    ("status", "body", "reason", "transient"),
    [
        (401, '{"error": {"message": "Incorrect API key"}}', WRONG, False),
        (403, "", WRONG, False),
        (402, '{"error": {"message": "Insufficient Balance"}}', QUOTA, False),
        (429, '{"error": {"code": "insufficient_quota", "message": "billing"}}', QUOTA, False),
        (400, '{"code": "Arrearage", "message": "overdue"}', QUOTA, False),
        (429, '{"error": {"code": "1113", "message": "余额不足"}}', QUOTA, False),
        (429, '{"error": {"message": "Rate limit reached"}}', BUSY, True),
        (400, '{"error": {"code": "context_length_exceeded"}}', LONG, False),
        (
            400,
            '{"error": {"message": "This model\'s maximum context length is 4096"}}',
            LONG,
            False,
        ),
        (400, '{"error": {"type": "exceed_context_size_error"}}', LONG, False),
        (400, '{"error": {"code": "tokens_too_long"}}', LONG, False),
        (400, '{"error": {"code": "model_context_window_exceeded"}}', LONG, False),
        (400, "the context length is only 4096 tokens", LONG, False),
        (400, "the request exceeds the available context size", LONG, False),
        (400, "Range of input length should be [1, 30720]", LONG, False),
        (400, "input token length too long", LONG, False),
        (400, "exceeded model token limit: 8192", LONG, False),
        (400, "prompt is too long: 210000 tokens", LONG, False),
        (400, "litellm.ContextWindowExceededError: ...", LONG, False),
        (
            400,
            '{"error": {"message": "No connected db.", "type": "no_db_connection"}}',
            WRONG,
            False,
        ),
        (400, '{"error": {"code": "invalid_api_key"}}', WRONG, False),
        (403, '{"error": {"code": "AccountOverdueError"}}', WRONG, False),
        (400, '{"error": {"code": "AccountOverdueError"}}', QUOTA, False),
        (400, '{"error": {"code": "SensitiveContentRiskDetection"}}', NO, False),
        (400, "Content Exists Risk: high risk", NO, False),
        (400, '{"error": {"code": "content_filter"}}', NO, False),
        (400, '{"code": "data_inspection_failed", "message": "inappropriate"}', NO, False),
        (400, '{"error": {"code": "1301", "message": "敏感"}}', NO, False),
        (400, '{"error": "bad parameter"}', DOWN, False),
        (404, "not found", DOWN, False),
        (404, '{"error": {"code": "model_not_found", "message": "no"}}', WRONG, False),
        (404, '{"error": {"message": "The model `gpt-9` does not exist."}}', WRONG, False),
        (404, '{"error": "model \\"llama9\\" not found, try pulling it first"}', WRONG, False),
        (
            404,
            '{"error": {"message": "Not found the model moon-9 or Permission denied"}}',
            WRONG,
            False,
        ),
        (404, '{"error": {"code": "InvalidEndpointOrModel.NotFound"}}', WRONG, False),
        (400, '{"error": {"message": "Model Not Exist"}}', WRONG, False),
        (400, '{"code": 20012, "message": "Model does not exist."}', WRONG, False),
        (400, '{"error": {"message": "nothing/x is not a valid model ID"}}', WRONG, False),
        (
            400,
            '{"error": {"code": "1211", "message": "模型不存在，请检查模型代码。"}}',
            WRONG,
            False,
        ),
        (503, '{"error": {"code": "model_not_found", "message": "无可用渠道"}}', WRONG, False),
        (404, '{"detail": "Not Found"}', DOWN, False),
        (404, "<html>404 Not Found</html>", DOWN, False),
        (500, '{"error": {"message": "model not found in cache"}}', DOWN, True),
        (408, "", DOWN, True),
        (
            429,
            '{"error": {"code": "rate_limit_exceeded", "message": "add a payment method: billing"}}',
            BUSY,
            True,
        ),
        (429, '{"error": {"code": "1302", "message": "并发过高"}}', BUSY, True),
        (400, '{"error": {"code": 1261, "message": "too long"}}', LONG, False),
        (403, '{"error": {"code": "Arrearage"}}', WRONG, False),
        (502, "<html>request id 1301 upstream, insufficient_quota</html>", DOWN, True),
        (500, '{"error": {"message": "oops"}}', DOWN, True),
        (502, "<html>Bad Gateway</html>", DOWN, True),
        (529, '{"error": {"type": "overloaded_error"}}', DOWN, True),
        (200, '{"error": {"message": "provider failed"}}', DOWN, True),
    ],
)
def test_an_error_is_classified_by_its_status_and_body(status, body, reason, transient):
    error = model_errors.classify(status, body)
    assert (error.reason, error.transient) == (reason, transient)


@pytest.mark.parametrize(
    "body",
    ['{"error": {"message": "why"}}', '{"message": "why"}', '{"msg": "why"}', '{"detail": "why"}',
     '{"error": "why"}', '[{"error": {"message": "why"}}]', "why", '{"error_msg": "w\\u0000hy"}'],
)  # fmt: skip
def test_an_error_message_is_found_in_every_format(body):
    assert printable(model_errors.error_sentence(body)).replace(" ", "") == "why"


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ("This model's maximum context length is 8192 tokens. However, you requested 9000", 8192),
        ("the context length is only 4096 tokens", 4096),
        ("request (700 tokens) exceeds the available context size (512 tokens)", 512),
        ("Range of input length should be [1, 30720]", 30720),
        ("prompt is too long", 0),
    ],
)
def test_the_context_limit_is_read_from_the_error(body, limit):
    assert model_errors.context_limit(body) == limit


@pytest.mark.parametrize(
    "words",
    ["余额不足", "why insufficient_quota?", "Arrearage 是什么", "maximum context length 是什么", "prompt is too long",
     "content_filter", "model not found", "RiskDetection", "high risk", "exceeded your current quota", "欠费"],
)  # fmt: skip
@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"message": "cannot parse: %s"}}',
        '{"message": "bad input %s"}',
        "rejected: %s",
        '{"input": "%s"}',
    ],
)
def test_words_quoted_from_the_prompt_do_not_affect_the_classification(words, body):
    error = model_errors.classify(400, body % words, asked=f"请问 {words}")
    assert error.reason is DOWN
    assert error.blame is model_errors.Blame.QUESTION
    assert model_errors.classify(400, body % words).reason is not DOWN


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 451, 500, 502])
def test_the_server_s_message_is_kept_out_of_the_loggable_text(status):
    body = '{"error": {"code": "bad_input", "type": "the words of 张三", "message": "张三的话"}}'
    why = model_errors.classify(status, body).why
    assert why.said == f"HTTP {status} (bad_input …)"
    assert "张三的话" in str(why)


def test_a_413_means_that_the_question_is_too_long():
    assert model_errors.classify(413, "<html>413 Request Entity Too Large</html>").reason is LONG


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached for gpt-4o. Please try again in 8.2s. Visit ...", 8.2),
        ("Please try again in 20ms.", 0.02),
        ("Please try again in 1m12.5s.", 72.5),
        ("Please try again in 6m0s", 360.0),
        ("Try again in 2 minutes", 120.0),
        ("Please retry after 57 seconds.", 57.0),
        ("quota exceeded. Please retry in 32.514s.", 32.514),
        ('", "retryDelay": "32s"', 32.0),
        ("访问过于频繁，请 10 秒后重试", 10.0),
        ("请等待30秒后重试", 30.0),
        ("请求过多，60秒后重试", 60.0),
        ("try again in 20 sec", 20.0),
        ("try again in about 5 seconds", 5.0),
        ("Please wait 30 seconds", 30.0),
        ("10秒后重试", 10.0),
        ("请在1分30秒后重试", 90.0),
        ("try again in 5 mins", 300.0),
        ("请在30秒后再试", 30.0),
        ("try again in 400000 hours", 86_400.0),
        ("try again later", 0.0),
        ("limit 3 requests in 5 slots", 0.0),
    ],
)
def test_the_retry_delay_is_read_from_the_error_message(message, seconds):
    body = json.dumps({"error": {"message": message}}, ensure_ascii=False)
    if "retryDelay" in message:
        body = '{"error": {"message": "x", "details": [{"a": "b' + message + "}]}}"
    error = model_errors.classify(429, body)
    assert error.reason is FailureReason.BUSY
    assert error.retry_after_s == pytest.approx(seconds)
    assert model_errors.classify(429, body, 3.0).retry_after_s == 3.0, "the header takes precedence"
    assert model_errors.classify(429, body, asked=f"user: {message}").retry_after_s == 0.0
