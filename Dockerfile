# One image for everything that taskplane runs: `serve` by default, `unit run …` for the built-in units, `task …`.

FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/taskplane
# Before the code, so that a change of code does not install them again.
COPY requirements/runtime.txt requirements/runtime.txt
RUN /opt/taskplane/bin/pip install --no-cache-dir --requirement requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY protos protos
COPY server server
COPY unit_sdk unit_sdk
COPY clients/python clients/python
# The build backend is among the requirements.
RUN /opt/taskplane/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
# 1000 is the first user of most machines, so that files in mounted folders have an owner.
RUN useradd --uid 1000 --create-home --home-dir /var/lib/taskplane taskplane
COPY --from=build /opt/taskplane /opt/taskplane
# gRPC's own log is for its developers.
ENV PATH=/opt/taskplane/bin:$PATH GRPC_VERBOSITY=ERROR
USER taskplane
WORKDIR /var/lib/taskplane
EXPOSE 50051 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "\
import grpc; from grpc_health.v1 import health_pb2 as pb, health_pb2_grpc as rpc; \
stub = rpc.HealthStub(grpc.insecure_channel('127.0.0.1:50051')); \
raise SystemExit(stub.Check(pb.HealthCheckRequest(), timeout=4).status != pb.HealthCheckResponse.SERVING)"]
ENTRYPOINT ["taskplane"]
# All interfaces of the container; the container engine decides what is published.
CMD ["serve", "--grpc", "0.0.0.0:50051", "--http", "0.0.0.0:3000"]
