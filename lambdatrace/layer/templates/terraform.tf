# A function traced by lambdatrace. Beside this file:
#   lambdatrace build-layer --arch @ARCH@     makes lambdatrace-@ARCH@.zip
#   app.zip                                   the function, with app.py in it
# then: terraform init && terraform apply

resource "aws_dynamodb_table" "traces" {
  name         = "@TABLE@"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "ExecutionID"
  range_key    = "TimestampNano"

  attribute {
    name = "ExecutionID"
    type = "S"
  }

  attribute {
    name = "TimestampNano"
    type = "N"
  }

  ttl {
    attribute_name = "ExpiresAt"
    enabled        = true
  }
}

resource "aws_lambda_layer_version" "lambdatrace" {
  layer_name               = "lambdatrace-@ARCH@"
  filename                 = "lambdatrace-@ARCH@.zip"
  source_code_hash         = filebase64sha256("lambdatrace-@ARCH@.zip")
  compatible_architectures = ["@ARCH@"]
  compatible_runtimes      = ["python3.12", "python3.13"]
}

resource "aws_iam_role" "example" {
  name_prefix = "traced-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "logs" {
  role       = aws_iam_role.example.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

resource "aws_iam_role_policy" "lambdatrace" {
  name = "lambdatrace"
  role = aws_iam_role.example.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "dynamodb:BatchWriteItem"
      Resource = aws_dynamodb_table.traces.arn
    }]
  })
}

resource "aws_lambda_function" "example" {
  function_name    = "traced-example"
  filename         = "app.zip"
  source_code_hash = filebase64sha256("app.zip")
  handler          = "app.handler"
  runtime          = "python3.13"
  architectures    = ["@ARCH@"]
  memory_size      = 256
  timeout          = 10
  role             = aws_iam_role.example.arn
  layers           = [aws_lambda_layer_version.lambdatrace.arn]

  environment {
    variables = {
      LAMBDATRACE_STORE       = "dynamodb://${aws_dynamodb_table.traces.name}"
      LAMBDATRACE_LEVEL       = "flows"
      AWS_LAMBDA_EXEC_WRAPPER = "/opt/lambdatrace/wrapper"
    }
  }
}
