# The app, and the workers of a cluster, in one image; docs/containers.md says how to build and run it.
#
#   docker build --target cuda .                                  torch from PyPI, which brings CUDA along
#   docker build --target cpu --build-arg TORCH_INDEX=URL .       a third of the size: URL is an index of torch without CUDA

FROM python:3.11-slim-bookworm AS packages
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/venv/bin:$PATH
RUN python -m venv /opt/venv
WORKDIR /build
COPY requirements.txt requirements.lock requirements-scale.txt ./
# The tested releases, as constraints: a torch without CUDA ("2.13.0+cpu") is the same release with other files.
RUN grep -oE '^[A-Za-z0-9_.-]+==[^ ;]+' requirements.lock > constraints.txt \
    && if [ -n "$TORCH_INDEX" ]; then pip install -c constraints.txt --index-url "$TORCH_INDEX" torch torchvision; fi \
    && pip install -c constraints.txt -r requirements.txt -r requirements-scale.txt

FROM python:3.11-slim-bookworm AS cpu
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp CONCENTRIC_DATA=/data CONCENTRIC_CACHE=/cache
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin concentric \
    && mkdir /data /cache && chown concentric:concentric /data /cache
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY app.py LICENSE ./
COPY .streamlit .streamlit
COPY mitosis_core mitosis_core
COPY db db
COPY train train
COPY pages pages
RUN python -m compileall -q /app
USER 10001
VOLUME ["/data", "/cache"]
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/api/health', timeout=4)"]
# Outside a container's own address the app starts only with a log-in: docs/security.md.
CMD ["streamlit", "run", "app.py", "--server.address=0.0.0.0"]

# The same files; the container runtime lends it the devices.
FROM cpu AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
